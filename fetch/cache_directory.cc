// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <sstream>

namespace layerfs {
namespace {

constexpr char kVersion[] = "layerfs cache 1\n";
constexpr char kVersionName[] = "version";
constexpr char kBootName[] = "boot";
constexpr uint64_t kMaxSmallFile = 4096;
// No write of a temporary file takes this long; what is older was left by a process that died.
constexpr int64_t kTemporaryAgeSeconds = 600;

struct BootState {
  std::string boot_id;
  bool clean = false;
  int64_t suspect_before_ns = 0;
};

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

int64_t WallClockNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// The kernel's id of this boot (random(4)); empty where there is no /proc, which makes every start
// look like one after a crash of the machine: safe, and slow only.
std::string CurrentBootId() {
  Result<Bytes> raw = ReadFile("/proc/sys/kernel/random/boot_id", kMaxSmallFile);
  if (!raw.has_value()) return "";
  std::string id(AsText(*raw));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

BootState ReadBootState(const std::string& path) {
  BootState state;
  Result<Bytes> raw = ReadFile(path, kMaxSmallFile);
  if (!raw.has_value()) return state;
  std::istringstream words{std::string(AsText(*raw))};
  std::string id;
  std::string word;
  int64_t suspect = 0;
  if (!(words >> id >> word >> suspect)) return state;
  return {id, word == "clean", suspect};
}

Status WriteBootState(const std::string& path, const BootState& state) {
  const std::string text = state.boot_id + (state.clean ? " clean " : " written ") +
                           std::to_string(state.suspect_before_ns) + "\n";
  return WriteFileAtomically(path, AsBytes(text), {.mode = 0600});
}

std::string FannedOut(const char* kind, const Digest& digest) {
  const std::string hex = digest.Hex();
  return std::string(kind) + "/" + hex.substr(0, 2) + "/" + hex;
}

void MakeParentAt(int root, const std::string& name) {
  for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
    ::mkdirat(root, name.substr(0, slash).c_str(), 0700);
}

// The converter's memo, which may be there before the cache is (tools/convert/known_layers.h).
constexpr std::string_view kMemoName = "converted-layers.json";

// Whether there is anything in the directory but what a cache that was being made would leave, or
// a conversion before it.
Result<bool> HoldsOtherThings(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return FailErrno(path, errno);
  bool found = false;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && name != "lock" && name != kBootName &&
        !name.starts_with(kVersionName) && !name.starts_with(kMemoName)) {
      found = true;
    }
  }
  ::closedir(directory);
  return found;
}

Status MakePrivateDirectory(const std::string& path) {
  Status made = MakeDirectories(path, 0700);
  if (made.has_value()) return {};
  Error error = std::move(made).error();
  if (error.system_errno == ENOTDIR) error.code = ErrorCode::kInvalidArgument;
  error.context = "cannot be made: " + error.context + "; name another one with --cache";
  return Fail(std::move(error));
}

}  // namespace

std::string WholeObjectName(const Digest& digest) { return FannedOut("objects", digest); }

Digest PartialObjectKey(const ObjectId& id) {
  if (id.scope.is_zero()) return id.digest;
  Sha256 hasher;
  hasher.Update(id.digest.bytes);
  hasher.Update(id.scope.bytes);
  return hasher.Finish();
}

std::string PartialObjectName(const Digest& key) { return FannedOut("partial", key); }

std::string PartialObjectName(const ObjectId& id) {
  return PartialObjectName(PartialObjectKey(id));
}

CacheDirectory::CacheDirectory(Options options)
    : path_(std::move(options.path)), read_only_(options.read_only) {}

Result<std::unique_ptr<CacheDirectory>> CacheDirectory::Open(Options options) {
  if (options.path.empty()) return Fail(ErrorCode::kInvalidArgument, "cache directory: no path");
  std::unique_ptr<CacheDirectory> cache(new CacheDirectory(std::move(options)));
  const std::string object = "cache directory " + cache->path_;
  if (!cache->read_only_) LAYERFS_CHECK_OK_IN(MakePrivateDirectory(cache->path_), object);
  LAYERFS_TRY_IN(root, OpenFile(cache->path_, O_RDONLY | O_DIRECTORY), object);
  cache->root_ = std::move(root);
  LAYERFS_CHECK_OK_IN(cache->CheckOwner(), object);
  if (::faccessat(cache->fd(), ".", W_OK, AT_EACCESS) != 0) cache->read_only_ = true;
  LAYERFS_CHECK_OK_IN(cache->Prepare(), object);
  return cache;
}

Status CacheDirectory::CheckOwner() const {
  struct stat attributes;
  if (::fstat(fd(), &attributes) != 0) return FailErrno("stat", errno);
  if (attributes.st_uid != ::geteuid()) {
    return Fail(ErrorCode::kPermission, "it belongs to user " + std::to_string(attributes.st_uid) +
                                            ", not to user " + std::to_string(::geteuid()) +
                                            "; name another one with --cache");
  }
  if ((attributes.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Fail(ErrorCode::kPermission,
                "others may write to it; take that away with chmod go-w, or name another one with "
                "--cache");
  }
  return {};
}

Status CacheDirectory::Prepare() {
  if (read_only_) {
    LAYERFS_CHECK_OK(CheckVersion());
    const BootState state = ReadBootState(path_ + "/" + kBootName);
    const bool torn = state.boot_id != CurrentBootId() && !state.clean;
    // Whenever it was written, it was before; nothing will be.
    suspect_before_ns_ = torn ? INT64_MAX : state.suspect_before_ns;
    return {};
  }
  LAYERFS_TRY(lock, OpenFileAt(fd(), "lock", O_RDWR | O_CREAT, 0600));
  lock_ = std::move(lock);
  const ScopedRangeLock opening(lock_fd(), cache_lock::kOpening);
  LAYERFS_CHECK_OK(opening.status());
  LAYERFS_TRY(is_new, CheckVersion());
  for (const char* name : {"objects", "partial", "documents", "tmp"}) {
    if (::mkdirat(fd(), name, 0700) != 0 && errno != EEXIST) return FailErrno(name, errno);
  }
  LAYERFS_CHECK_OK(NoteBoot(is_new));
  RemoveOldTemporaries();
  return LockRangeWait(lock_fd(), cache_lock::kInUse, LockKind::kShared);
}

Result<bool> CacheDirectory::CheckVersion() {
  Result<Bytes> version = ReadFile(path_ + "/" + kVersionName, kMaxSmallFile);
  if (version.has_value()) {
    if (AsText(*version) == kVersion) return false;
    return Fail(ErrorCode::kUnsupported, "it has another version (" +
                                             std::string(AsText(*version).substr(0, 32)) +
                                             "); remove it, or name another one with --cache");
  }
  if (version.error().code != ErrorCode::kNotFound) return Fail(version.error());
  LAYERFS_TRY(foreign, HoldsOtherThings(path_));
  if (!foreign && read_only_) {
    return Fail(ErrorCode::kPermission,
                "it is no cache yet and cannot be written to; name another one with --cache");
  }
  if (foreign) {
    return Fail(ErrorCode::kInvalidArgument,
                "it is not a cache of layerfs; name an empty or a new directory with --cache");
  }
  LAYERFS_CHECK_OK(
      WriteFileAtomically(path_ + "/" + kVersionName, AsBytes(kVersion), {.mode = 0600}));
  return true;
}

Status CacheDirectory::NoteBoot(bool is_new) {
  const std::string path = path_ + "/" + kBootName;
  BootState state = ReadBootState(path);
  suspect_before_ns_ = state.suspect_before_ns;
  const std::string boot_id = CurrentBootId();
  if (!boot_id.empty() && state.boot_id == boot_id) return {};
  if (!state.clean && !is_new) {
    suspect_before_ns_ = WallClockNs();
    EndTimesAt(suspect_before_ns_);
  }
  return WriteBootState(path, {boot_id, true, suspect_before_ns_});
}

// What a clock that was ahead has dated later than `now_ns` is of before all the same, and suspect.
void CacheDirectory::EndTimesAt(int64_t now_ns) const {
  const timespec times[2] = {{0, UTIME_OMIT},
                             {now_ns / kNanosecondsPerSecond, now_ns % kNanosecondsPerSecond}};
  for (const char* const kind : {"objects", "partial", "documents"}) {
    std::error_code failed;
    using Walk = std::filesystem::recursive_directory_iterator;
    for (Walk entry(path_ + "/" + kind, failed), end; !failed && entry != end;
         entry.increment(failed)) {
      const char* const name = entry->path().c_str();
      struct stat file{};
      if (::lstat(name, &file) != 0 || !S_ISREG(file.st_mode)) continue;
      const int64_t written_ns =
          int64_t{file.st_mtim.tv_sec} * kNanosecondsPerSecond + file.st_mtim.tv_nsec;
      if (written_ns > now_ns) ::utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW);
    }
  }
}

void CacheDirectory::MarkWritten() {
  if (written_.exchange(true) || read_only_) return;
  const ScopedRangeLock opening(lock_fd(), cache_lock::kOpening);
  BootState state = ReadBootState(path_ + "/" + kBootName);
  if (!state.clean) return;
  state.clean = false;
  // Not synced: the journals of the file systems that we know keep the order of renames, so that
  // this one is on disk by the time that any object's is. A missing file counts as unclean.
  if (!WriteBootState(path_ + "/" + kBootName, state).has_value()) {
    ::unlinkat(fd(), kBootName, 0);
  }
}

CacheDirectory::~CacheDirectory() {
  if (!lock_.valid()) return;
  const ScopedRangeLock opening(lock_fd(), cache_lock::kOpening);
  const Result<bool> alone = TryLockRange(lock_fd(), cache_lock::kInUse, LockKind::kExclusive);
  if (!opening.status().has_value() || !alone.has_value() || !*alone) return;
  BootState state = ReadBootState(path_ + "/" + kBootName);
  if (state.clean || ::syncfs(fd()) != 0) return;
  state.clean = true;
  // Where it cannot be written, the next start after a boot verifies more than it would have to.
  static_cast<void>(WriteBootState(path_ + "/" + kBootName, state));
}

void CacheDirectory::RemoveOldTemporaries() const {
  Result<UniqueFd> opened = OpenFileAt(fd(), "tmp", O_RDONLY | O_DIRECTORY);
  if (!opened.has_value()) return;
  DIR* directory = ::fdopendir(opened->get());
  if (directory == nullptr) return;
  const int directory_fd = opened->Release();
  const int64_t now = WallClockNs() / kNanosecondsPerSecond;
  while (const dirent* entry = ::readdir(directory)) {
    struct stat attributes;
    if (::fstatat(directory_fd, entry->d_name, &attributes, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(attributes.st_mode)) continue;
    if (now - attributes.st_mtim.tv_sec > kTemporaryAgeSeconds) {
      ::unlinkat(directory_fd, entry->d_name, 0);
    }
  }
  ::closedir(directory);
}

std::string CacheDirectory::NewTemporaryName() const {
  static std::atomic<uint64_t> sequence{0};
  return "tmp/" + std::to_string(::getpid()) + "." + std::to_string(sequence.fetch_add(1)) + "." +
         std::to_string(WallClockNs());
}

Result<UniqueFd> CacheDirectory::OpenAt(const std::string& name, int flags, mode_t mode) const {
  Result<UniqueFd> opened = OpenFileAt(fd(), name, flags | O_NOFOLLOW, mode);
  if (opened.has_value() || (flags & O_CREAT) == 0 || opened.error().system_errno != ENOENT) {
    return opened;
  }
  MakeParentAt(fd(), name);
  return OpenFileAt(fd(), name, flags | O_NOFOLLOW, mode);
}

Status CacheDirectory::Rename(const std::string& from, const std::string& to) const {
  if (::renameat(fd(), from.c_str(), fd(), to.c_str()) == 0) return {};
  if (errno == ENOENT) {
    MakeParentAt(fd(), to);
    if (::renameat(fd(), from.c_str(), fd(), to.c_str()) == 0) return {};
  }
  return FailErrno(to, errno);
}

}  // namespace layerfs

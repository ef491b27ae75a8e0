// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "index/base/directory_stream.h"
#include "index/base/log.h"

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

BootState ReadBootState(const CacheDirectory& directory) {
  BootState state;
  Result<Bytes> raw = directory.ReadAt(kBootName, kMaxSmallFile);
  if (!raw.has_value()) return state;
  std::istringstream words{std::string(AsText(*raw))};
  std::string id;
  std::string word;
  int64_t suspect = 0;
  if (!(words >> id >> word >> suspect)) return state;
  return {id, word == "clean", suspect};
}

Status WriteBootState(const CacheDirectory& directory, const BootState& state) {
  const std::string text = state.boot_id + (state.clean ? " clean " : " written ") +
                           std::to_string(state.suspect_before_ns) + "\n";
  return WriteFileAtomically(directory.path() + "/" + kBootName, AsBytes(text), {.mode = 0600});
}

std::string FannedOut(const char* kind, const Digest& digest) {
  const std::string hex = digest.Hex();
  return std::string(kind) + "/" + hex.substr(0, 2) + "/" + hex;
}

bool IsThere(int root, const std::string& name, mode_t type) {
  struct stat attributes;
  return ::fstatat(root, name.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) == 0 &&
         (attributes.st_mode & S_IFMT) == type;
}

// kCorrupt where something else than a plain file is under the name. A FIFO is not waited for.
Result<UniqueFd> OpenPlainAt(int root, const std::string& name, int flags, mode_t mode) {
  Result<UniqueFd> opened = OpenFileAt(root, name, flags | O_NOFOLLOW | O_NONBLOCK, mode);
  struct stat found;
  const int failed = opened.has_value()
                         ? ::fstat(opened->get(), &found)
                         : ::fstatat(root, name.c_str(), &found, AT_SYMLINK_NOFOLLOW);
  if (failed != 0 || S_ISREG(found.st_mode)) return opened;
  return Fail(ErrorCode::kCorrupt, name + ": it is not a file");
}

// What a user has to look into: a file that cannot be made anew.
Result<UniqueFd> OpenNeeded(int root, const std::string& name, int flags) {
  Result<UniqueFd> opened = OpenPlainAt(root, name, flags, 0600);
  if (opened.has_value() || opened.error().code != ErrorCode::kCorrupt) return opened;
  return Fail(ErrorCode::kInvalidArgument,
              opened.error().context + "; remove it, or name another directory with --cache");
}

Result<Bytes> ReadWhole(const UniqueFd& file, const std::string& name, uint64_t limit) {
  LAYERFS_TRY(size, FileSize(file.get()));
  if (size > limit) {
    return Fail(ErrorCode::kTooLarge, name + ": more than " + std::to_string(limit) + " bytes");
  }
  Bytes content(size);
  LAYERFS_CHECK_OK_IN(ReadFullAt(file.get(), 0, content), name);
  return content;
}

// The converter's memo, which may be there before the cache is (tools/convert/known_layers.h).
constexpr std::string_view kMemoName = "converted-layers.json";

// Whether there is anything in the directory but what a cache that was being made would leave, or
// a conversion before it.
Result<bool> HoldsOtherThings(const std::string& path) {
  const DirectoryStream directory(::opendir(path.c_str()));
  if (directory == nullptr) return FailErrno(path, errno);
  bool found = false;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && name != "lock" && name != kBootName &&
        !name.starts_with(kVersionName) && !name.starts_with(kMemoName)) {
      found = true;
    }
  }
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
  Status prepared = cache->Prepare();
  // A file system whose disk has failed may look writable until the first try (ext4 that has
  // aborted).
  if (!prepared.has_value() && prepared.error().system_errno == EROFS && !cache->read_only_) {
    cache->read_only_ = true;
    cache->lock_ = UniqueFd();
    prepared = cache->Prepare();
  }
  LAYERFS_CHECK_OK_IN(prepared, object);
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
    const BootState state = ReadBootState(*this);
    const bool torn = state.boot_id != CurrentBootId() && !state.clean;
    // Whenever it was written, it was before; nothing will be.
    suspect_before_ns_ = torn ? INT64_MAX : state.suspect_before_ns;
    return {};
  }
  LAYERFS_TRY(lock, OpenNeeded(fd(), "lock", O_RDWR | O_CREAT));
  lock_ = std::move(lock);
  const ScopedRangeLock opening(lock_fd(), cache_lock::kOpening);
  LAYERFS_CHECK_OK(opening.status());
  LAYERFS_TRY(is_new, CheckVersion());
  for (const char* name : {"objects", "partial", "documents", "tmp"}) {
    if (::mkdirat(fd(), name, 0700) != 0 && errno != EEXIST) return FailErrno(name, errno);
    if (!IsThere(fd(), name, S_IFDIR)) {
      return Fail(ErrorCode::kInvalidArgument,
                  std::string(name) +
                      ": it is not a directory; remove it, or name another one with --cache");
    }
  }
  LAYERFS_CHECK_OK(NoteBoot(is_new));
  RemoveOldTemporaries();
  return LockRangeWait(lock_fd(), cache_lock::kInUse, LockKind::kShared);
}

Result<bool> CacheDirectory::CheckVersion() {
  const Result<UniqueFd> file = OpenNeeded(fd(), kVersionName, O_RDONLY);
  if (file.has_value()) {
    LAYERFS_TRY(version, ReadWhole(*file, kVersionName, kMaxSmallFile));
    if (AsText(version) == kVersion) return false;
    return Fail(ErrorCode::kUnsupported, "it has another version (" +
                                             std::string(AsText(version).substr(0, 32)) +
                                             "); remove it, or name another one with --cache");
  }
  if (file.error().code != ErrorCode::kNotFound) return Fail(file.error());
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
  const BootState state = ReadBootState(*this);
  suspect_before_ns_ = state.suspect_before_ns;
  const std::string boot_id = CurrentBootId();
  if (!boot_id.empty() && state.boot_id == boot_id) return {};
  if (!state.clean && !is_new) {
    suspect_before_ns_ = WallClockNs();
    EndTimesAt(suspect_before_ns_);
  }
  return WriteBootState(*this, {boot_id, true, suspect_before_ns_});
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
  BootState state = ReadBootState(*this);
  if (!state.clean) return;
  state.clean = false;
  // Not synced: the journals of the file systems that we know keep the order of renames, so that
  // this one is on disk by the time that any object's is. A missing file counts as unclean.
  if (!WriteBootState(*this, state).has_value()) {
    ::unlinkat(fd(), kBootName, 0);
  }
}

CacheDirectory::~CacheDirectory() {
  if (!lock_.valid()) return;
  const ScopedRangeLock opening(lock_fd(), cache_lock::kOpening);
  const Result<bool> alone = TryLockRange(lock_fd(), cache_lock::kInUse, LockKind::kExclusive);
  if (!opening.status().has_value() || !alone.has_value() || !*alone) return;
  BootState state = ReadBootState(*this);
  if (state.clean) return;
  state.clean = ::syncfs(fd()) == 0;
  if (!state.clean) {
    // What the disk did not take reads as zeros once the kernel has dropped it from memory.
    LogWarning(FailErrno("cache " + path_, errno).error().context +
               ": its disk did not take all that was written; it is verified at its next use");
    state.suspect_before_ns = WallClockNs();
  }
  // Where that cannot be written, the next start verifies more than it would have to.
  if (!WriteBootState(*this, state).has_value() && !state.clean) {
    ::unlinkat(fd(), kBootName, 0);
  }
}

void CacheDirectory::RemoveOldTemporaries() const {
  Result<UniqueFd> opened = OpenFileAt(fd(), "tmp", O_RDONLY | O_DIRECTORY);
  if (!opened.has_value()) return;
  const int directory_fd = opened->get();
  const DirectoryStream directory = MakeDirectoryStream(std::move(*opened));
  if (directory == nullptr) return;
  const int64_t now = WallClockNs() / kNanosecondsPerSecond;
  while (const dirent* entry = ::readdir(directory.get())) {
    struct stat attributes;
    if (::fstatat(directory_fd, entry->d_name, &attributes, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(attributes.st_mode)) continue;
    if (now - attributes.st_mtim.tv_sec > kTemporaryAgeSeconds) {
      ::unlinkat(directory_fd, entry->d_name, 0);
    }
  }
}

std::string CacheDirectory::NewTemporaryName() const {
  static std::atomic<uint64_t> sequence{0};
  return "tmp/" + std::to_string(::getpid()) + "." + std::to_string(sequence.fetch_add(1)) + "." +
         std::to_string(WallClockNs());
}

Result<UniqueFd> CacheDirectory::OpenAt(const std::string& name, int flags, mode_t mode) const {
  if ((flags & O_DIRECTORY) != 0) return OpenFileAt(fd(), name, flags | O_NOFOLLOW);
  Result<UniqueFd> opened = OpenPlainAt(fd(), name, flags, mode);
  if (opened.has_value()) return opened;
  const bool create = (flags & O_CREAT) != 0;
  const int trouble = opened.error().system_errno;
  if (opened.error().code == ErrorCode::kCorrupt) {
    if (!read_only_) LAYERFS_CHECK_OK(ClearAway(name));
    if (!create) return Fail(ErrorCode::kNotFound, name + ": it was not a file");
  } else if (create && (trouble == ENOENT || trouble == ENOTDIR || trouble == ELOOP)) {
    MakeParent(name);
  } else if (trouble == ELOOP) {
    return Fail(ErrorCode::kNotFound, opened.error().context);
  } else {
    return opened;
  }
  return OpenPlainAt(fd(), name, flags, mode);
}

Result<Bytes> CacheDirectory::ReadAt(const std::string& name, uint64_t limit) const {
  LAYERFS_TRY(file, OpenAt(name, O_RDONLY));
  return ReadWhole(file, name, limit);
}

Status CacheDirectory::Rename(const std::string& from, const std::string& to) const {
  if (::renameat(fd(), from.c_str(), fd(), to.c_str()) == 0) return {};
  if (errno == EISDIR) {
    LAYERFS_CHECK_OK(ClearAway(to));
  } else if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) {
    MakeParent(to);
  } else {
    return FailErrno(to, errno);
  }
  if (::renameat(fd(), from.c_str(), fd(), to.c_str()) == 0) return {};
  return FailErrno(to, errno);
}

// Renamed first, which takes a directory with all that is in it, and nothing that is mounted there.
Status CacheDirectory::ClearAway(const std::string& name) const {
  const std::string aside = NewTemporaryName();
  if (::renameat(fd(), name.c_str(), fd(), aside.c_str()) != 0) {
    if (errno == ENOENT) return {};  // Somebody else has done it.
    return Fail(ErrnoError("cannot be cleared away", errno).In(name));
  }
  const bool removed =
      ::unlinkat(fd(), aside.c_str(), 0) == 0 || ::unlinkat(fd(), aside.c_str(), AT_REMOVEDIR) == 0;
  LogWarning("cache directory " + path_ + ": " + name + " was not what it should be, and is " +
             (removed ? "removed" : "moved to " + aside));
  return {};
}

void CacheDirectory::MakeParent(const std::string& name) const {
  for (size_t slash = name.find('/'); slash != std::string::npos;
       slash = name.find('/', slash + 1)) {
    const std::string parent = name.substr(0, slash);
    if (::mkdirat(fd(), parent.c_str(), 0700) == 0 || errno != EEXIST) continue;
    // What is in the way of a directory; where it stays, the file cannot be made either.
    if (!IsThere(fd(), parent, S_IFDIR) && ClearAway(parent).has_value()) {
      ::mkdirat(fd(), parent.c_str(), 0700);
    }
  }
}

}  // namespace layerfs

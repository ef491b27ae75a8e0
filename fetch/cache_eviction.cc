// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_eviction.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

#include "index/base/directory_stream.h"
#include "index/base/log.h"

namespace layerfs {
namespace {

constexpr uint64_t kStatBlockBytes = 512;  // of st_blocks, stat(2)
// Evicting goes down to this share of the limit, so that it is rare.
constexpr uint64_t kLowMarkPercent = 90;
// How far the cache may grow over its limit while nothing can be evicted.
constexpr uint64_t kHardLimitPercent = 110;
// After a disk was found full, this share of what the cache uses is given up.
constexpr uint64_t kDiskFullPercent = 90;
// What nobody waits for leaves this much of the disk free: directories, and the maps of partial
// objects, take some beside the content, and a reader shall not have to evict at once.
constexpr uint64_t kDiskReserveBytes = uint64_t{4} << 20;
// A search that could not free enough is not repeated before this time.
constexpr std::chrono::seconds kEvictionPause{1};

DirectoryStream OpenDirectory(const CacheDirectory& cache, const std::string& name) {
  Result<UniqueFd> opened = cache.OpenAt(name, O_RDONLY | O_DIRECTORY);
  if (!opened.has_value()) return nullptr;
  return MakeDirectoryStream(std::move(*opened));
}

int64_t ToNs(const struct timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void ScanFan(const CacheDirectory& cache, const std::string& fan, bool whole,
             std::vector<ScannedObject>& found) {
  const DirectoryStream directory = OpenDirectory(cache, fan);
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    struct stat attributes;
    if (::fstatat(::dirfd(directory.get()), entry->d_name, &attributes, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(attributes.st_mode)) {
      continue;
    }
    const Result<Digest> key = Digest::Parse(std::string("sha256:") + entry->d_name);
    if (!key.has_value()) continue;
    found.push_back({fan + "/" + entry->d_name, *key, whole,
                     static_cast<uint64_t>(attributes.st_blocks) * kStatBlockBytes,
                     std::max(ToNs(attributes.st_atim), ToNs(attributes.st_mtim))});
  }
}

void ScanKind(const CacheDirectory& cache, const std::string& kind, bool whole,
              std::vector<ScannedObject>& found) {
  const DirectoryStream directory = OpenDirectory(cache, kind);
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') ScanFan(cache, kind + "/" + entry->d_name, whole, found);
  }
}

// Whether it was evicted; not when a process has it open.
bool Evict(const CacheDirectory& cache, const ScannedObject& object) {
  Result<UniqueFd> file = cache.OpenAt(object.name, O_RDONLY);
  if (!file.has_value() || !TryMarkUnused(file->get())) return false;
  // Between the opening and the mark others may have evicted or renamed it, and made another one.
  struct stat opened;
  struct stat named;
  if (::fstat(file->get(), &opened) != 0 ||
      ::fstatat(cache.fd(), object.name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      opened.st_ino != named.st_ino) {
    return false;
  }
  return ::unlinkat(cache.fd(), object.name.c_str(), 0) == 0;
}

uint64_t Percent(uint64_t bytes, uint64_t percent) { return bytes / 100 * percent; }

int64_t SteadyNs() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// Evicts on behalf of a writer, unless another thread or process is at it or it was in vain just
// now. Without a target, a share of what there is.
void MakeRoom(CacheState& state, std::optional<uint64_t> target_bytes) {
  const std::unique_lock one_thread(state.evicting, std::try_to_lock);
  if (!one_thread.owns_lock() || SteadyNs() < state.next_eviction_ns.load()) return;
  const int lock_fd = state.directory->lock_fd();
  const Result<bool> locked = TryLockRange(lock_fd, cache_lock::kEvicting, LockKind::kExclusive);
  if (!locked.value_or(false)) return;
  // A process that has written little may know nothing of what there is before it has counted.
  if (!target_bytes.has_value() && EvictTo(state, UINT64_MAX).has_value()) {
    target_bytes = Percent(static_cast<uint64_t>(state.usage.Add(0)), kDiskFullPercent);
  }
  const Result<uint64_t> freed = EvictTo(state, target_bytes.value_or(UINT64_MAX));
  UnlockRange(lock_fd, cache_lock::kEvicting);
  if (!freed.has_value()) LogWarning("cache: nothing can be evicted: " + freed.error().context);
  if (!freed.has_value() || *freed == 0) {
    state.next_eviction_ns.store(SteadyNs() + std::chrono::nanoseconds(kEvictionPause).count());
  }
}

}  // namespace

Result<std::vector<ScannedObject>> ScanObjects(const CacheDirectory& directory) {
  std::vector<ScannedObject> found;
  ScanKind(directory, "objects", true, found);
  ScanKind(directory, "partial", false, found);
  return found;
}

uint64_t RoomTarget(uint64_t limit_bytes, uint64_t bytes) {
  const uint64_t low_mark = Percent(limit_bytes, kLowMarkPercent);
  return low_mark > bytes ? low_mark - bytes : 0;
}

uint64_t DiskTarget(const CacheDirectory& directory, uint64_t used, uint64_t bytes) {
  const uint64_t room = DiskRoom(directory);
  const uint64_t missing = bytes > room ? bytes - room : 0;
  return std::min(Percent(used, kDiskFullPercent), used > missing ? used - missing : 0);
}

uint64_t DiskRoom(const CacheDirectory& directory) {
  struct statvfs disk;
  if (::fstatvfs(directory.fd(), &disk) != 0 || disk.f_blocks == 0) return UINT64_MAX;
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  return free > kDiskReserveBytes ? free - kDiskReserveBytes : 0;
}

Result<uint64_t> EvictTo(CacheState& state, uint64_t target_bytes, int64_t unused_since_ns) {
  LAYERFS_TRY(pinned, state.pins.Keys());
  if (pinned.damage.has_value()) return Fail(*pinned.damage);
  LAYERFS_TRY(objects, ScanObjects(*state.directory));
  uint64_t used = 0;
  // What is kept open was used later than its file says.
  const auto kept = state.kept.Uses();
  for (ScannedObject& object : objects) {
    used += object.bytes;
    const auto use = kept.find(object.key);
    if (use != kept.end()) object.used_ns = std::max(object.used_ns, use->second.last_ns);
  }
  std::sort(objects.begin(), objects.end(),
            [](const ScannedObject& a, const ScannedObject& b) { return a.used_ns < b.used_ns; });
  uint64_t freed = 0;
  for (const ScannedObject& object : objects) {
    if (used - freed <= target_bytes || object.used_ns >= unused_since_ns) break;
    if (pinned.keys.contains(object.key)) continue;
    const auto use = kept.find(object.key);
    if (use != kept.end()) state.kept.LetGo(use->second.object);
    if (Evict(*state.directory, object)) freed += object.bytes;
  }
  state.usage.Set(static_cast<int64_t>(used - freed));
  return freed;
}

Status WithRoomFor(CacheState& state, uint64_t bytes, const std::function<Status()>& write) {
  const uint64_t limit = state.options.limit_bytes;
  const auto used = static_cast<uint64_t>(state.usage.Add(0));
  if (limit != 0 && used + bytes > limit) {
    MakeRoom(state, RoomTarget(limit, bytes));
    const auto is_over = [&] {
      const auto left = static_cast<uint64_t>(state.usage.Add(0));
      return left + bytes > Percent(limit, kHardLimitPercent);
    };
    // Another thread may be at it.
    if (is_over()) const std::lock_guard until_it_is_through(state.evicting);
    if (is_over()) {
      state.over_limit_bytes.store(bytes);
      return Fail(ErrorCode::kNoSpace, "the limit of " + std::to_string(limit) +
                                           " bytes is reached, and all that is cached is in use");
    }
  }
  state.over_limit_bytes.store(0);
  Status written = write();
  if (!written.has_value() && written.error().code == ErrorCode::kNoSpace) {
    MakeRoom(state, std::nullopt);
    written = write();
  }
  if (written.has_value()) {
    state.usage.Add(static_cast<int64_t>(AlignUp(bytes, kCachePageBytes)));
  }
  return written;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_locks.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

namespace layerfs {
namespace {

struct flock MakeLock(LockRange range, short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.start);
  lock.l_len = static_cast<off_t>(range.size);
  return lock;
}

short LockType(LockKind kind) { return kind == LockKind::kShared ? F_RDLCK : F_WRLCK; }

}  // namespace

Result<bool> TryLockRange(int fd, LockRange range, LockKind kind) {
  struct flock lock = MakeLock(range, LockType(kind));
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return FailErrno("lock", errno);
}

Status LockRangeWait(int fd, LockRange range, LockKind kind) {
  struct flock lock = MakeLock(range, LockType(kind));
  while (::fcntl(fd, F_OFD_SETLKW, &lock) != 0) {
    if (errno != EINTR) return FailErrno("lock", errno);
  }
  return {};
}

void UnlockRange(int fd, LockRange range) {
  struct flock lock = MakeLock(range, F_UNLCK);
  ::fcntl(fd, F_OFD_SETLK, &lock);
}

ScopedRangeLock::ScopedRangeLock(int fd, LockRange range)
    : fd_(fd), range_(range), status_(LockRangeWait(fd, range, LockKind::kExclusive)) {}

ScopedRangeLock::~ScopedRangeLock() {
  if (status_.has_value()) UnlockRange(fd_, range_);
}

Status MarkInUse(int fd) {
  while (::flock(fd, LOCK_SH) != 0) {
    if (errno != EINTR) return FailErrno("flock", errno);
  }
  return {};
}

bool TryMarkUnused(int fd) {
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

}  // namespace layerfs

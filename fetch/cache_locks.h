// SPDX-License-Identifier: Apache-2.0
// FileLocks: byte-range locks among processes (open file description locks, fcntl(2)). They vanish
// with the process that holds them, however it ends. Handles of one open file description never
// conflict with each other, so that threads need a mutex beside.
// Thread-safe.
#pragma once

#include <cstdint>

#include "index/base/error.h"

namespace layerfs {

enum class LockKind { kShared, kExclusive };

struct LockRange {
  uint64_t start = 0;
  uint64_t size = 1;
};

// True when the lock was taken, false when somebody else holds it.
Result<bool> TryLockRange(int fd, LockRange range, LockKind kind);
// Waits for it: only for locks that are held for microseconds.
Status LockRangeWait(int fd, LockRange range, LockKind kind);
void UnlockRange(int fd, LockRange range);

// Holds an exclusive lock for its lifetime; empty after a failure, which only costs exclusion.
class ScopedRangeLock {
 public:
  ScopedRangeLock(int fd, LockRange range);
  ~ScopedRangeLock();
  ScopedRangeLock(const ScopedRangeLock&) = delete;
  ScopedRangeLock& operator=(const ScopedRangeLock&) = delete;

  const Status& status() const { return status_; }

 private:
  int fd_;
  LockRange range_;
  Status status_;
};

// flock(2) on a whole file: shared marks it as in use, exclusive is for who wants to remove it.
Status MarkInUse(int fd);
// True when nobody has it in use; the mark then keeps users waiting until `fd` is closed.
bool TryMarkUnused(int fd);

}  // namespace layerfs

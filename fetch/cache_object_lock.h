// SPDX-License-Identifier: Apache-2.0
// What DiskObject's halves share about the files of objects.
// Thread-safe.
#pragma once

#include <sys/stat.h>

#include <ctime>

#include "fetch/cache_locks.h"

namespace layerfs {

// Byte of a partial file that is locked by who changes its footer; far behind any content.
inline constexpr LockRange kMarkingLock{uint64_t{1} << 62, 1};

// The file has been verified since the machine went down: it is not suspect any more.
inline void NoteVerified(int fd) {
  const struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
  ::futimens(fd, times);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// What the cache holds, and which of it goes when it is too much: least recently used first, never
// what a process uses. What this process only keeps open (KeptObjects) it lets go of; what another
// one keeps so stays until that one does.
// Thread-safe and process-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fetch/cache_state.h"
#include "index/base/error.h"

namespace layerfs {

struct ScannedObject {
  std::string name;  // under the cache's directory
  Digest key;        // that the name is made of
  bool whole = false;
  uint64_t bytes = 0;  // on disk
  int64_t used_ns = 0;
};

Result<std::vector<ScannedObject>> ScanObjects(const CacheDirectory& directory);

// Evicts until at most `target_bytes` are used, of what was last used before `unused_since_ns`;
// puts the usage count right. Returns the bytes freed.
Result<uint64_t> EvictTo(CacheState& state, uint64_t target_bytes,
                         int64_t unused_since_ns = INT64_MAX);

// What evicting for `bytes` goes down to under a limit, so that it is rare.
uint64_t RoomTarget(uint64_t limit_bytes, uint64_t bytes);
// The same on a disk that has no room for them, of `used`.
uint64_t DiskTarget(const CacheDirectory& directory, uint64_t used, uint64_t bytes);
// What the disk has left for what nobody waits for; UINT64_MAX where it does not say.
uint64_t DiskRoom(const CacheDirectory& directory);

// Runs `write`, which puts `bytes` more on disk, within the limit: evicts before, where they would
// not fit, and once more after a kNoSpace of the disk. kNoSpace when all that could go is in use.
Status WithRoomFor(CacheState& state, uint64_t bytes, const std::function<Status()>& write);

}  // namespace layerfs

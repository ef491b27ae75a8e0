// SPDX-License-Identifier: Apache-2.0
// CacheClaims: who fetches which pages of which object, among the processes of one cache. A claim
// is a byte-range lock on the cache's lock file and ends with its process. Two objects can fall on
// one range (34 bits of the digest are used): then one waits for the other, and nothing is wrong.
// Thread-safe and process-safe.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "fetch/cache_directory.h"
#include "index/base/synchronized.h"

namespace layerfs {

class CacheClaims {
 public:
  explicit CacheClaims(const CacheDirectory& directory) : directory_(directory) {}

  // True where claims cannot be made at all (a read-only cache): fetching twice is better than
  // never.
  bool TryClaim(const Digest& object, uint64_t offset, uint64_t size);
  void Unclaim(const Digest& object, uint64_t offset, uint64_t size);

 private:
  const CacheDirectory& directory_;
  // This process's claims, by the first byte of the object's range: its own threads share the
  // lock's owner and would never conflict.
  Synchronized<std::unordered_map<uint64_t, std::vector<LockRange>>> held_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// CacheChunkIndex: in which object of the cache a chunk lies, by the chunk's digest, so that a file
// of which an older version is cached is copied as far as the two agree. A hint: it forgets, it
// may be wrong, and whoever follows it checks the bytes. The file is described in CACHE.md.
// Thread-safe and process-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "fetch/cache_directory.h"
#include "index/base/digest.h"

namespace layerfs {

struct ChunkLocation {
  Digest whole;    // the object's name while it is whole,
  Digest partial;  // and while it is partial
  uint64_t offset = 0;
  uint32_t size = 0;
};

class CacheChunkIndex {
 public:
  explicit CacheChunkIndex(const CacheDirectory& directory) : directory_(directory) {}

  void Put(const Digest& chunk, const ChunkLocation& location);
  std::optional<ChunkLocation> Find(const Digest& chunk) const;
  void Erase(const Digest& chunk);

 private:
  const UniqueFd* File(bool create) const;

  const CacheDirectory& directory_;
  // Opened at first use, once; -1 in it where it cannot be.
  mutable std::mutex opening_;
  mutable UniqueFd file_;
  mutable std::atomic<bool> opened_{false};
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// CacheState: what the cache and its open objects share within a process.
// Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "fetch/cache_chunk_index.h"
#include "fetch/cache_claims.h"
#include "fetch/cache_directory.h"
#include "fetch/cache_pins.h"
#include "fetch/cache_usage.h"
#include "fetch/kept_objects.h"
#include "fetch/object_cache.h"
#include "index/base/descriptors.h"
#include "index/base/synchronized.h"

namespace layerfs {

class DiskObject;

// Objects that are kept open. Without a descriptor to spare nothing is fetched either: connections
// and the fill need theirs.
inline constexpr size_t kLeastKept = 8;
inline constexpr size_t kMostKept = 2048;

struct ObjectIdHash {
  size_t operator()(const ObjectId& id) const noexcept { return std::hash<Digest>()(id.digest); }
};

struct CacheState {
  CacheState(std::unique_ptr<CacheDirectory> opened, ObjectCache::Options given)
      : directory(std::move(opened)),
        options(std::move(given)),
        usage(*directory),
        claims(*directory),
        chunks(*directory),
        pins(*directory),
        kept(DescriptorShare(8, kLeastKept, kMostKept)) {}

  const std::unique_ptr<CacheDirectory> directory;
  const ObjectCache::Options options;
  CacheUsage usage;
  CacheClaims claims;
  CacheChunkIndex chunks;
  CachePins pins;
  // They hold the state in turn, until the cache clears it.
  KeptObjects kept;
  // The objects that somebody in this process has open.
  Synchronized<std::unordered_map<ObjectId, std::weak_ptr<DiskObject>, ObjectIdHash>> objects;
  // Lets one thread at a time look for objects to evict. Held across I/O: who comes while another
  // one is at it goes on without.
  std::mutex evicting;
  std::atomic<int64_t> next_eviction_ns{0};
  // Of contents, in a row, that the disk or the limit has refused.
  std::atomic<int> unkept_writes{0};
  // Of the last one of those; 0: it was not the limit that has refused it.
  std::atomic<uint64_t> over_limit_bytes{0};
};

}  // namespace layerfs

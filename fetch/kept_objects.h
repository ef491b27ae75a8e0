// SPDX-License-Identifier: Apache-2.0
// KeptObjects: the cache's objects that this process keeps open though nobody may be using them, so
// that the next who wants one finds it so. Whoever evicts lets go of them first.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "fetch/object_cache.h"
#include "index/base/lru_map.h"
#include "index/base/synchronized.h"

namespace layerfs {

class KeptObjects {
 public:
  // What has not been used for longest goes where there are more than `most`.
  explicit KeptObjects(size_t most) : kept_(Kept(most)) {}

  // Counts as a use; null where it is not kept.
  std::shared_ptr<CachedObject> Find(const ObjectId& id);
  void Put(std::shared_ptr<CachedObject> object);
  // Whoever uses it has it open still.
  void LetGo(const Digest& object);
  void Clear();

  struct Use {
    Digest object;
    int64_t last_ns = 0;  // on the clock of files' times
  };
  // By the digests that name the objects' files, whole and partial.
  std::unordered_map<Digest, Use> Uses() const;

 private:
  struct Entry {
    std::shared_ptr<CachedObject> object;
    int64_t used_ns = 0;
  };
  using Kept = LruMap<Digest, Entry>;
  Synchronized<Kept> kept_;
};

}  // namespace layerfs

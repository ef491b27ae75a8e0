// SPDX-License-Identifier: Apache-2.0
// CachePins: named sets of objects that are not evicted, whether they are there yet or not (an
// image that is to stay, say). The files are described in CACHE.md. Thread-safe and process-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "fetch/cache_directory.h"

namespace layerfs {

class CachePins {
 public:
  explicit CachePins(const CacheDirectory& directory) : directory_(directory) {}

  // Replaces the set of that name; survives a power cut.
  Status Put(std::string_view name, std::span<const ObjectId> objects) const;
  Status Remove(std::string_view name) const;
  // Of a set that cannot be read a warning is all that there is.
  Result<std::vector<std::string>> Names() const;
  struct Pinned {
    std::unordered_set<Digest> keys;  // what names the objects' files, whole and partial
    std::optional<Error> damage;      // a set cannot be read: it is not known what may go
  };
  Result<Pinned> Keys() const;

 private:
  struct Set {
    std::string name;
    Bytes keys;
  };
  Result<std::vector<Set>> ReadAll(std::optional<Error>& damage) const;

  const CacheDirectory& directory_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ImageRecord: what the cache notes of an image that was mounted or pulled: its name, and once all
// of it has been there, the objects that it is made of. With them it can be told, without the
// registry and without the image's index, whether the image is still complete, and be pinned.
// The file is described in CACHE.md.
// Thread-safe: values and functions of the cache.
#pragma once

#include <string>
#include <vector>

#include "fetch/object_cache.h"

namespace layerfs {

struct ImageRecord {
  std::string name;  // the reference it was last named by
  Digest manifest;
  uint64_t layer_bytes = 0;  // of its blobs, as a pull would move them
  // Nothing while it was never complete.
  std::vector<ObjectId> objects;

  uint64_t object_bytes() const;  // of the content
};

Status WriteImageRecord(ObjectCache& cache, const ImageRecord& record);
Result<ImageRecord> ReadImageRecord(const ObjectCache& cache, const Digest& manifest);
// All that can be read, by name.
std::vector<ImageRecord> ReadImageRecords(const ObjectCache& cache);

// How much of a record's objects is there in whole.
struct ImagePresence {
  uint64_t objects = 0;
  uint64_t bytes = 0;
  bool complete = false;
};
ImagePresence PresenceOf(const ImageRecord& record, const std::unordered_set<Digest>& whole);

}  // namespace layerfs

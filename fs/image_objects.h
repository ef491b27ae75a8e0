// SPDX-License-Identifier: Apache-2.0
// ImageObjects: the set of cache objects that an image is made of, gathered chunk by chunk.
// One thread at a time.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <unordered_set>
#include <vector>

#include "fetch/object_cache.h"
#include "fs/chunk_map.h"
#include "fs/image.h"
#include "fs/image_chunks.h"

namespace layerfs {

class ImageObjects {
 public:
  void AddChunk(const ChunkRef& chunk) { Add({chunk.digest, chunk.size, {}}); }

  // The chunks of one file come between BeginFile and EndFile.
  void BeginFile() {
    file_object_.reset();
    covered_ = 0;
  }
  void AddPiece(const ReadPiece& piece) {
    if (piece.object.scope.is_zero()) return Add(piece.object);
    file_object_ = piece.object;
    covered_ += piece.chunk.size;
  }
  // A file's own object that its chunks do not make up is never there in whole.
  void EndFile() {
    if (file_object_.has_value() && covered_ == file_object_->size) Add(*file_object_);
  }

  std::vector<ObjectId> Take() && { return std::move(objects_); }

 private:
  void Add(const ObjectId& id) {
    if (known_.insert(id.digest).second) objects_.push_back(id);
  }

  std::unordered_set<Digest> known_;
  std::vector<ObjectId> objects_;
  std::optional<ObjectId> file_object_;
  uint64_t covered_ = 0;
};

// All that `chunks` lists.
Result<std::vector<ObjectId>> GatherObjects(ImageChunks& chunks);

// All of an image's, from the cache's record of it, or else by its chunk table, which is fetched
// where it is not there.
Result<std::vector<ObjectId>> ListImageObjects(const std::shared_ptr<Image>& image,
                                               const ImageContext& context,
                                               std::chrono::milliseconds timeout);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ImageChunks: all chunks of an image, file by file, for who wants the whole of it (the fill, a
// pin). Segments of the chunk table come through a function of the caller's, who may wait as it
// likes.
// One thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "fs/chunk_map.h"
#include "fs/image.h"

namespace layerfs {

class ImageChunks {
 public:
  using Fetch = std::function<Result<SharedBytes>(ChunkRequest)>;
  explicit ImageChunks(std::shared_ptr<Image> image, Fetch fetch);

  // The regular files that have bytes, in the order of their blobs.
  std::vector<InodeNumber> FilesInBlobOrder() const;
  // Each chunk that the file's bytes are in, once, in order; the part of it that is the file's does
  // not matter here. An error from `use` ends it.
  using Use = std::function<Status(const ReadPiece&)>;
  Status ForEachChunk(InodeNumber file, const Use& use);
  // The layers' indexes and the segments of their chunk tables: what mounting takes.
  std::vector<ChunkRequest> TableChunks() const;
  const Image& image() const { return *image_; }

 private:
  Status HoldSegments(InodeNumber file, uint64_t offset, uint64_t size, ChunkMap::SegmentSet& held);

  const std::shared_ptr<Image> image_;
  const Fetch fetch_;
  ChunkMap map_;
};

}  // namespace layerfs

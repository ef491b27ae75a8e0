// SPDX-License-Identifier: Apache-2.0
#include "fs/chunk_map.h"

#include <algorithm>

namespace layerfs {

ChunkMap::SegmentPtr ChunkMap::FindSegment(uint32_t number) {
  return segments_.With([&](auto& segments) {
    SegmentPtr* const found = segments.Find(number);
    return found != nullptr ? *found : nullptr;
  });
}

Result<uint32_t> ChunkMap::SegmentOf(LayerNumber layer, uint64_t tar_offset) const {
  const auto number = image_->tree().FindSegment(layer, tar_offset);
  if (number.has_value()) return *number;
  return Fail(ErrorCode::kCorrupt, "the chunk table does not cover tar offset " +
                                       std::to_string(tar_offset) + " of layer " +
                                       std::to_string(ToUint(layer) + 1));
}

Result<std::vector<uint32_t>> ChunkMap::MissingSegments(InodeNumber number, uint64_t offset,
                                                        uint64_t size) {
  const Index& tree = image_->tree();
  const Inode inode = tree.Get(number);
  std::vector<uint32_t> missing;
  const auto need = [&](uint32_t segment) {
    const bool listed = std::find(missing.begin(), missing.end(), segment) != missing.end();
    if (!listed && FindSegment(segment) == nullptr) missing.push_back(segment);
  };
  const std::vector<DataExtent> extents = tree.DataExtents(number, offset, size);
  if (extents.empty()) return missing;
  if (!tree.IsSparse(number)) {
    // Where the file begins stands whether it has an object of its own.
    LAYERFS_TRY(first, SegmentOf(inode.layer, inode.data_offset));
    need(first);
  }
  for (const DataExtent& extent : extents) {
    LAYERFS_TRY(begin, SegmentOf(inode.layer, extent.tar_offset));
    LAYERFS_TRY(end, SegmentOf(inode.layer, extent.tar_offset + extent.size - 1));
    for (uint32_t segment = begin; segment <= end; ++segment) need(segment);
  }
  return missing;
}

ChunkRequest ChunkMap::SegmentRequest(uint32_t number) const {
  const SegmentRef segment = image_->tree().Segment(number);
  ChunkRequest request;
  request.blob = image_->layer_blob(segment.layer);
  request.chunk = segment.ref;
  request.reason = "chunk table";
  return request;
}

Status ChunkMap::AddSegment(uint32_t number, ByteSpan bytes) {
  LAYERFS_TRY(segment, ChunkTableSegment::Open(bytes, image_->tree().Segment(number)));
  segments_.With([&](auto& segments) {
    segments.Put(number, std::make_shared<const ChunkTableSegment>(std::move(segment)));
  });
  return {};
}

std::optional<Content> ChunkMap::FindContent(InodeNumber number, const Inode& inode) {
  const Index& tree = image_->tree();
  if (inode.size == 0 || tree.IsSparse(number)) return std::nullopt;
  const auto segment_number = tree.FindSegment(inode.layer, inode.data_offset);
  if (!segment_number.has_value()) return std::nullopt;
  const SegmentPtr segment = FindSegment(*segment_number);
  if (segment == nullptr) return std::nullopt;
  const Content* const content = segment->FindContent(inode.data_offset);
  if (content == nullptr || content->size != inode.size) return std::nullopt;
  return *content;
}

Result<std::optional<std::vector<ReadPiece>>> ChunkMap::Map(InodeNumber number, uint64_t offset,
                                                            uint64_t size) {
  const Inode inode = image_->tree().Get(number);
  const std::optional<Content> content = FindContent(number, inode);
  std::vector<ReadPiece> pieces;
  for (const DataExtent& extent : image_->tree().DataExtents(number, offset, size)) {
    uint64_t done = 0;
    while (done < extent.size) {
      const uint64_t tar_offset = extent.tar_offset + done;
      LAYERFS_TRY(segment_number, SegmentOf(inode.layer, tar_offset));
      const SegmentPtr segment = FindSegment(segment_number);
      if (segment == nullptr) return std::nullopt;
      const Chunk* const chunk = segment->FindChunk(tar_offset);
      if (chunk == nullptr) {
        return Fail(ErrorCode::kCorrupt,
                    "no chunk covers tar offset " + std::to_string(tar_offset));
      }
      ReadPiece piece;
      piece.layer = inode.layer;
      piece.chunk = chunk->ref;
      piece.chunk_offset = tar_offset - chunk->tar_offset;
      piece.buffer_offset = extent.file_offset + done - offset;
      piece.size = std::min<uint64_t>(extent.size - done, chunk->ref.size - piece.chunk_offset);
      piece.object = ObjectId{chunk->ref.digest, chunk->ref.size, {}};
      if (content.has_value() && chunk->tar_offset >= content->tar_offset &&
          RangeFits(chunk->tar_offset - content->tar_offset, chunk->ref.size, content->size) &&
          (chunk->tar_offset - content->tar_offset) % kCachePageBytes == 0) {
        piece.object = ObjectId{content->digest, content->size, image_->manifest_digest()};
        piece.object_offset = chunk->tar_offset - content->tar_offset;
      }
      done += piece.size;
      pieces.push_back(piece);
    }
  }
  return pieces;
}

std::optional<ObjectId> ChunkMap::OwnObject(InodeNumber number) {
  const auto content = FindContent(number, image_->tree().Get(number));
  if (!content.has_value()) return std::nullopt;
  return ObjectId{content->digest, content->size, image_->manifest_digest()};
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/chunk_map.h"

#include <algorithm>
#include <cassert>

namespace layerfs {

ChunkMap::SegmentPtr ChunkMap::FindSegment(uint32_t number) {
  return segments_.With([&](auto& segments) {
    SegmentPtr* const found = segments.Find(number);
    return found != nullptr ? *found : nullptr;
  });
}

void ChunkMap::Need(uint32_t segment, SegmentSet& held, std::vector<uint32_t>& missing) {
  const auto [place, is_new] = held.try_emplace(segment, nullptr);
  if (!is_new) return;
  place->second = FindSegment(segment);
  if (place->second == nullptr) missing.push_back(segment);
}

Result<uint32_t> ChunkMap::SegmentOf(LayerNumber layer, uint64_t tar_offset) const {
  const auto number = image_->tree().FindSegment(layer, tar_offset);
  if (number.has_value()) return *number;
  return Fail(ErrorCode::kCorrupt, "the chunk table does not cover tar offset " +
                                       std::to_string(tar_offset) + " of layer " +
                                       std::to_string(ToUint(layer) + 1));
}

Result<std::vector<uint32_t>> ChunkMap::FindSegments(InodeNumber number, uint64_t offset,
                                                     uint64_t size, SegmentSet& held) {
  const Index& tree = image_->tree();
  const Inode inode = tree.Get(number);
  std::vector<uint32_t> missing;
  const std::vector<DataExtent> extents = tree.DataExtents(number, offset, size);
  if (extents.empty()) return missing;
  if (!tree.IsSparse(number)) {
    // Where the file begins stands whether it has an object of its own.
    LAYERFS_TRY(first, SegmentOf(inode.layer, inode.data_offset));
    Need(first, held, missing);
  }
  for (const DataExtent& extent : extents) {
    LAYERFS_TRY(begin, SegmentOf(inode.layer, extent.tar_offset));
    LAYERFS_TRY(end, SegmentOf(inode.layer, extent.tar_offset + extent.size - 1));
    for (uint32_t segment = begin; segment <= end; ++segment) {
      Need(segment, held, missing);
      if (held.size() <= kMaxSegmentsPerRead) continue;
      return Fail(ErrorCode::kCorrupt, "its chunk table is cut into too many segments");
    }
  }
  return missing;
}

Result<std::vector<uint32_t>> ChunkMap::FindSegmentsOfTar(LayerNumber layer, uint64_t begin,
                                                          uint64_t end, SegmentSet& held) {
  std::vector<uint32_t> missing;
  const uint64_t limit = std::min(end, image_->tree().layers()[ToUint(layer)].tar_size);
  if (begin >= limit) return missing;
  LAYERFS_TRY(first, SegmentOf(layer, begin));
  LAYERFS_TRY(last, SegmentOf(layer, limit - 1));
  for (uint32_t segment = first; segment <= last && held.size() < kMaxSegmentsPerRead; ++segment) {
    Need(segment, held, missing);
  }
  return missing;
}

void ChunkMap::JoinMissing(std::vector<uint32_t>& missing, SegmentSet& held) const {
  if (missing.size() < 2) return;
  const Index& tree = image_->tree();
  std::ranges::sort(missing);
  const uint32_t first = missing.front();
  const uint32_t last = missing.back();
  uint64_t between = 0;
  for (uint32_t number = first; number < last; ++number) {
    const SegmentRef segment = tree.Segment(number);
    if (segment.layer != tree.Segment(first).layer) return;
    if (!held.contains(number)) between += segment.ref.stored_size;
    if (between > kMaxJoinedBytes) return;
  }
  for (uint32_t number = first; number < last; ++number) {
    if (held.try_emplace(number, nullptr).second) missing.push_back(number);
  }
}

ChunkRequest ChunkMap::SegmentRequest(uint32_t number) const {
  const SegmentRef segment = image_->tree().Segment(number);
  ChunkRequest request;
  request.blob = image_->layer_blob(segment.layer);
  request.chunk = segment.ref;
  request.reason = "chunk table";
  return request;
}

Result<ChunkMap::SegmentPtr> ChunkMap::AddSegment(uint32_t number, ByteSpan bytes) {
  LAYERFS_TRY(segment, ChunkTableSegment::Open(bytes, image_->tree().Segment(number)));
  auto shared = std::make_shared<const ChunkTableSegment>(std::move(segment));
  segments_.With([&](auto& segments) { segments.Put(number, shared); });
  return SegmentPtr(std::move(shared));
}

std::optional<uint32_t> ChunkMap::FirstSegment(InodeNumber number, const Inode& inode) const {
  const Index& tree = image_->tree();
  if (inode.size == 0 || tree.IsSparse(number)) return std::nullopt;
  return tree.FindSegment(inode.layer, inode.data_offset);
}

std::optional<Content> ChunkMap::FindContent(const Inode& inode, const ChunkTableSegment* first) {
  if (first == nullptr) return std::nullopt;
  const Content* const content = first->FindContent(inode.data_offset);
  if (content == nullptr || content->size != inode.size) return std::nullopt;
  return *content;
}

bool ChunkMap::PlaceInContent(const std::optional<Content>& content, const Chunk& chunk,
                              ReadPiece& piece) const {
  if (!content.has_value() || chunk.tar_offset < content->tar_offset) return false;
  const uint64_t offset = chunk.tar_offset - content->tar_offset;
  if (!RangeFits(offset, chunk.ref.size, content->size) || offset % kCachePageBytes != 0) {
    return false;
  }
  piece.object = ObjectId{content->digest, content->size, image_->scope()};
  piece.object_offset = offset;
  return true;
}

Result<std::vector<ReadPiece>> ChunkMap::Map(InodeNumber number, uint64_t offset, uint64_t size,
                                             const SegmentSet& held) const {
  const Inode inode = image_->tree().Get(number);
  const auto first = FirstSegment(number, inode);
  const auto first_held = first.has_value() ? held.find(*first) : held.end();
  const std::optional<Content> content =
      FindContent(inode, first_held != held.end() ? first_held->second.get() : nullptr);
  std::vector<ReadPiece> pieces;
  for (const DataExtent& extent : image_->tree().DataExtents(number, offset, size)) {
    uint64_t done = 0;
    while (done < extent.size) {
      const uint64_t tar_offset = extent.tar_offset + done;
      LAYERFS_TRY(segment_number, SegmentOf(inode.layer, tar_offset));
      const auto segment = held.find(segment_number);
      assert(segment != held.end() && segment->second != nullptr);
      const Chunk* const chunk = segment->second->FindChunk(tar_offset);
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
      PlaceInContent(content, *chunk, piece);
      done += piece.size;
      pieces.push_back(piece);
    }
  }
  return pieces;
}

std::vector<ReadPiece> ChunkMap::ChunksOfTar(LayerNumber layer, uint64_t begin, uint64_t end,
                                             const SegmentSet& held) const {
  std::vector<ReadPiece> pieces;
  std::optional<Content> content;
  for (const auto& [number, segment] : held) {
    for (const Chunk& chunk : segment->chunks()) {
      if (chunk.tar_offset + chunk.ref.size <= begin) continue;
      if (chunk.tar_offset >= end) break;
      if (const Content* const starts = segment->FindContent(chunk.tar_offset)) content = *starts;
      ReadPiece piece{layer, chunk.ref,     ObjectId{chunk.ref.digest, chunk.ref.size, {}}, 0, 0,
                      0,     chunk.ref.size};
      const bool own = PlaceInContent(content, chunk, piece);
      if (own || chunk.ref.size >= kCachePageBytes) pieces.push_back(piece);
    }
  }
  return pieces;
}

std::optional<ObjectId> ChunkMap::OwnObject(InodeNumber number) {
  const Inode inode = image_->tree().Get(number);
  const auto first = FirstSegment(number, inode);
  if (!first.has_value()) return std::nullopt;
  const auto content = FindContent(inode, FindSegment(*first).get());
  if (!content.has_value()) return std::nullopt;
  return ObjectId{content->digest, content->size, image_->scope()};
}

}  // namespace layerfs

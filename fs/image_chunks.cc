// SPDX-License-Identifier: Apache-2.0
#include "fs/image_chunks.h"

#include <algorithm>
#include <tuple>

namespace layerfs {
namespace {

// Mapped at once: within what a read may ask of a chunk table.
constexpr uint64_t kSliceBytes = uint64_t{4} << 20;

bool SameChunk(const ReadPiece& a, const ReadPiece& b) {
  return a.layer == b.layer && a.chunk == b.chunk && a.object == b.object &&
         a.object_offset == b.object_offset;
}

}  // namespace

ImageChunks::ImageChunks(std::shared_ptr<Image> image, Fetch fetch)
    : image_(std::move(image)), fetch_(std::move(fetch)), map_(image_) {}

std::vector<InodeNumber> ImageChunks::FilesInBlobOrder() const {
  const Index& tree = image_->tree();
  std::vector<std::tuple<LayerNumber, uint64_t, InodeNumber>> places;
  for (uint32_t number = 1; number <= tree.inode_count(); ++number) {
    const Inode inode = tree.Get(InodeNumber{number});
    if (!inode.is_regular() || inode.size == 0) continue;
    places.emplace_back(inode.layer, inode.data_offset, InodeNumber{number});
  }
  std::sort(places.begin(), places.end());
  std::vector<InodeNumber> files;
  files.reserve(places.size());
  for (const auto& [layer, offset, inode] : places) files.push_back(inode);
  return files;
}

Status ImageChunks::HoldSegments(InodeNumber file, uint64_t offset, uint64_t size,
                                 ChunkMap::SegmentSet& held) {
  LAYERFS_TRY(missing, map_.FindSegments(file, offset, size, held));
  for (const uint32_t number : missing) {
    LAYERFS_TRY(bytes, fetch_(map_.SegmentRequest(number)));
    LAYERFS_TRY(segment, map_.AddSegment(number, *bytes));
    held[number] = std::move(segment);
  }
  return {};
}

Status ImageChunks::ForEachChunk(InodeNumber file, const Use& use) {
  const uint64_t size = image_->tree().Get(file).size;
  std::optional<ReadPiece> last;
  uint64_t offset = 0;
  // From data to data: a hole may have any size.
  for (const DataExtent& extent : image_->tree().DataExtents(file, 0, size)) {
    offset = std::max(offset, extent.file_offset);
    while (offset < extent.file_offset + extent.size) {
      const uint64_t slice = std::min(kSliceBytes, size - offset);
      ChunkMap::SegmentSet held;
      LAYERFS_CHECK_OK(HoldSegments(file, offset, slice, held));
      LAYERFS_TRY(pieces, map_.Map(file, offset, slice, held));
      for (const ReadPiece& piece : pieces) {
        if (last.has_value() && SameChunk(*last, piece)) continue;
        last = piece;
        LAYERFS_CHECK_OK(use(piece));
      }
      offset += slice;
    }
  }
  return {};
}

std::vector<ChunkRequest> ImageChunks::TableChunks() const {
  std::vector<ChunkRequest> requests;
  const Index& tree = image_->tree();
  for (size_t i = 0; i < tree.layers().size(); ++i) {
    const LayerNumber layer{static_cast<uint16_t>(i)};
    ChunkRequest request;
    request.blob = image_->layer_blob(layer);
    request.chunk = image_->layer_index(layer);
    request.reason = "layer index";
    requests.push_back(std::move(request));
  }
  for (uint32_t i = 0; i < tree.segment_count(); ++i) requests.push_back(map_.SegmentRequest(i));
  return requests;
}

}  // namespace layerfs

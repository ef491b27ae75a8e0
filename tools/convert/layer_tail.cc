// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/layer_tail.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "index/chunk_table.h"
#include "index/index_codec.h"
#include "tools/convert/hidden_data.h"

namespace layerfs {
namespace {

// A segment is fetched when a file in it is first read: this many make some 20 KiB, a fraction of
// the chunk that is read, and describe some 200 MiB of tar.
constexpr size_t kChunksPerSegment = 512;

Result<std::vector<SegmentRef>> AppendSegments(const ChunkPipeline::Outcome& tar,
                                               HiddenData& hidden) {
  std::vector<SegmentRef> segments;
  std::span<const Content> contents = tar.contents;
  for (size_t first = 0; first < tar.chunks.size(); first += kChunksPerSegment) {
    const auto chunks = std::span(tar.chunks)
                            .subspan(first, std::min(kChunksPerSegment, tar.chunks.size() - first));
    SegmentRef segment;
    segment.tar_begin = chunks.front().tar_offset;
    segment.tar_end = chunks.back().tar_offset + chunks.back().ref.size;
    const auto behind = std::ranges::partition_point(
        contents, [&](const Content& content) { return content.tar_offset < segment.tar_end; });
    const auto inside = contents.first(static_cast<size_t>(behind - contents.begin()));
    contents = contents.subspan(inside.size());
    LAYERFS_TRY(ref, hidden.Append(ChunkTableSegment::Encode(chunks, inside)));
    segment.ref = ref;
    segments.push_back(segment);
  }
  return segments;
}

}  // namespace

Result<ChunkRef> AppendLayerTail(const ChunkPipeline::Outcome& tar, LayerIndexBuilder& builder,
                                 LayerCompression compression, SpoolFile& spool) {
  HiddenData hidden(compression, spool);
  LAYERFS_TRY(segments, AppendSegments(tar, hidden));
  LAYERFS_TRY(index, builder.Finish({tar.tar_digest, tar.tar_size, std::move(segments)}));
  LAYERFS_TRY(arranged, EncodeIndex(std::move(index)));
  LAYERFS_TRY(ref, hidden.Append(arranged));
  LAYERFS_CHECK_OK(hidden.AppendFooter(ref));
  return ref;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/layer_tail.h"

#include <algorithm>
#include <span>
#include <vector>

#include "index/base/zstd_codec.h"
#include "index/chunk_table.h"
#include "index/index_codec.h"
#include "index/layer_footer.h"

namespace layerfs {
namespace {

// A segment is fetched when a file in it is first read: this many make some 20 KiB, a fraction of
// the chunk that is read, and describe some 200 MiB of tar.
constexpr size_t kChunksPerSegment = 512;

// Digests do not compress and the rest is small: a higher level than the chunks' costs nothing.
constexpr int kTailLevel = 9;

// The magic of our skippable frames; any of the sixteen would do (RFC 8878, 3.1.2).
constexpr uint32_t kTailFrameMagic = kZstdSkippableMagicFirst + 14;

// Appends `data`, compressed, as the payload of a skippable frame.
Result<ChunkRef> AppendHidden(ByteSpan data, ZstdCompressor& compressor, SpoolFile& spool) {
  Bytes frame;
  LAYERFS_CHECK_OK(compressor.Compress(data, frame));
  if (data.size() > kMaxIndexBytes || frame.size() > UINT32_MAX) {
    return Fail(ErrorCode::kTooLarge,
                "an index of " + std::to_string(data.size()) + " bytes is beyond the format");
  }
  ByteWriter header;
  header.Write(kTailFrameMagic);
  header.Write(static_cast<uint32_t>(frame.size()));
  LAYERFS_CHECK_OK(spool.Append(header.bytes()));
  const ChunkRef ref{Digest::Of(data), spool.size(), static_cast<uint32_t>(frame.size()),
                     static_cast<uint32_t>(data.size()), ChunkCodec::kZstdFrame};
  LAYERFS_CHECK_OK(spool.Append(frame));
  return ref;
}

Result<std::vector<SegmentRef>> AppendSegments(const ChunkPipeline::Outcome& tar,
                                               ZstdCompressor& compressor, SpoolFile& spool) {
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
    LAYERFS_TRY(ref, AppendHidden(ChunkTableSegment::Encode(chunks, inside), compressor, spool));
    segment.ref = ref;
    segments.push_back(segment);
  }
  return segments;
}

}  // namespace

Result<ChunkRef> AppendLayerTail(const ChunkPipeline::Outcome& tar, LayerIndexBuilder& builder,
                                 SpoolFile& spool) {
  ZstdCompressor compressor(kTailLevel);
  LAYERFS_TRY(segments, AppendSegments(tar, compressor, spool));
  LAYERFS_TRY(index, builder.Finish({tar.tar_digest, tar.tar_size, std::move(segments)}));
  LAYERFS_TRY(arranged, EncodeIndex(index));
  LAYERFS_TRY(ref, AppendHidden(arranged, compressor, spool));
  LAYERFS_CHECK_OK(spool.Append(EncodeLayerFooter(ref)));
  return ref;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// For tests of the converter: a converted layer's blob taken apart again.
// Values.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/file.h"
#include "index/base/gzip_codec.h"
#include "index/base/inflate.h"
#include "index/base/zstd_codec.h"
#include "index/chunk_table.h"
#include "index/index.h"
#include "index/index_codec.h"
#include "index/layer_footer.h"
#include "tools/convert/layer_converter.h"

namespace layerfs {

inline Bytes ReadSpool(const SpoolFile& spool) {
  Bytes blob(spool.size());
  EXPECT_TRUE(ReadFullAt(spool.fd(), 0, blob).has_value());
  return blob;
}

// What `gzip -d` makes of the blob.
inline Result<Bytes> DecodeWholeGzip(ByteSpan blob) {
  GzipStreamDecoder decoder;
  Bytes out;
  Bytes room(1 << 20);
  while (true) {
    LAYERFS_TRY(size, decoder.Decode(blob, room));
    out.insert(out.end(), room.begin(), room.begin() + static_cast<ptrdiff_t>(size));
    if (blob.empty() && size < room.size()) break;
  }
  if (!decoder.at_member_end()) return Fail(ErrorCode::kCorrupt, "the blob is cut short");
  return out;
}

// What `zstd -d` makes of the blob.
inline Result<Bytes> DecodeWhole(ByteSpan blob) {
  ZstdStreamDecoder decoder;
  Bytes out;
  Bytes room(1 << 20);
  while (true) {
    LAYERFS_TRY(size, decoder.Decode(blob, room));
    out.insert(out.end(), room.begin(), room.begin() + static_cast<ptrdiff_t>(size));
    if (blob.empty() && size < room.size()) break;
  }
  if (!decoder.at_frame_end()) return Fail(ErrorCode::kCorrupt, "the blob is cut short");
  return out;
}

// One stored piece, verified as a reader must.
inline Bytes ReadRef(ByteSpan blob, const ChunkRef& ref) {
  Bytes out(ref.size);
  EXPECT_TRUE(RangeFits(ref.blob_offset, ref.stored_size, blob.size()));
  const ByteSpan stored = blob.subspan(ref.blob_offset, ref.stored_size);
  const Status status = ref.codec == ChunkCodec::kGzipMember
                            ? GzipDecompressor().Decompress(stored, out)
                            : ZstdDecompressor().Decompress(stored, out);
  EXPECT_TRUE(status.has_value()) << status.error().context;
  EXPECT_EQ(Digest::Of(out), ref.digest);
  return out;
}

// Blob, index and segments, found from the footer as one finds them where only the blob is known.
struct OpenedLayer {
  Bytes blob;
  ChunkRef index_ref;
  std::optional<Index> index;
  std::vector<ChunkTableSegment> segments;

  static OpenedLayer Open(Bytes bytes) {
    OpenedLayer layer;
    layer.blob = std::move(bytes);
    const auto footer = DecodeLayerFooter(layer.blob, layer.blob.size());
    EXPECT_TRUE(footer.has_value() && footer->has_value());
    if (!footer.has_value() || !footer->has_value()) return layer;
    layer.index_ref = **footer;
    auto decoded = DecodeIndex(ReadRef(layer.blob, layer.index_ref));
    EXPECT_TRUE(decoded.has_value());
    if (!decoded.has_value()) return layer;
    auto index = Index::Open(std::move(*decoded));
    EXPECT_TRUE(index.has_value()) << index.error().context;
    if (!index.has_value()) return layer;
    layer.index.emplace(std::move(*index));
    for (uint32_t i = 0; i < layer.index->segment_count(); ++i) {
      const SegmentRef where = layer.index->Segment(i);
      auto segment = ChunkTableSegment::Open(ReadRef(layer.blob, where.ref), where);
      EXPECT_TRUE(segment.has_value()) << segment.error().context;
      if (segment.has_value()) layer.segments.push_back(std::move(*segment));
    }
    return layer;
  }

  std::vector<Chunk> Chunks() const {
    std::vector<Chunk> all;
    for (const ChunkTableSegment& segment : segments) {
      all.insert(all.end(), segment.chunks().begin(), segment.chunks().end());
    }
    return all;
  }
  std::vector<Content> Contents() const {
    std::vector<Content> all;
    for (const ChunkTableSegment& segment : segments) {
      all.insert(all.end(), segment.contents().begin(), segment.contents().end());
    }
    return all;
  }

  // [offset, offset + size) of the tar, as a reader gets it: segment, chunks, bytes.
  Bytes ReadTar(uint64_t offset, uint64_t size) const {
    Bytes out;
    while (out.size() < size) {
      const uint64_t at = offset + out.size();
      const auto number = index->FindSegment(LayerNumber{0}, at);
      if (!number.has_value()) return out;
      const Chunk* chunk = segments[*number].FindChunk(at);
      if (chunk == nullptr) return out;
      const Bytes bytes = ReadRef(blob, chunk->ref);
      const uint64_t skip = at - chunk->tar_offset;
      const uint64_t take = std::min(bytes.size() - skip, size - out.size());
      out.insert(out.end(), bytes.begin() + static_cast<ptrdiff_t>(skip),
                 bytes.begin() + static_cast<ptrdiff_t>(skip + take));
    }
    return out;
  }
};

// Feeds `blob` in pieces of `piece` bytes.
inline BlobReader ReaderOf(const Bytes& blob, size_t piece = 1 << 20) {
  return [&blob, piece](const BlobConsumer& consume) -> Status {
    for (size_t at = 0; at < blob.size(); at += piece) {
      LAYERFS_CHECK_OK(consume(ByteSpan(blob).subspan(at, std::min(piece, blob.size() - at))));
    }
    return {};
  };
}

// A policy with everything small, so that small tars have many chunks.
inline ChunkPolicy SmallPolicy() {
  ChunkPolicy policy;
  policy.chunk_size = 8192;
  policy.own_chunk_size = 12000;
  policy.group_min = 8192;
  policy.group_target = 16384;
  policy.group_max = 32768;
  return policy;
}

}  // namespace layerfs

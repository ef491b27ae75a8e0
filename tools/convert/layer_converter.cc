// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/layer_converter.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "index/layer_index_builder.h"
#include "index/tar_parser.h"
#include "tools/convert/chunk_pipeline.h"
#include "tools/convert/layer_tail.h"
#include "tools/convert/tar_chunker.h"

namespace layerfs {
namespace {

// The tar is looked at in pieces that stay in the processor's cache between parser and chunker.
constexpr size_t kPieceBytes = size_t{64} << 10;

// Everything that one tar passes through on the reading thread.
class TarStages {
 public:
  TarStages(const ChunkPolicy& policy, BufferPool& buffers, ChunkPipeline& pipeline)
      : chunker_(policy, buffers,
                 [&pipeline](TarChunk&& chunk) { return pipeline.Add(std::move(chunk)); }),
        parser_([this](TarEntry&& entry) {
          chunker_.Plan(entry);
          return builder_.Add(entry);
        }) {}

  Status Feed(ByteSpan tar) {
    while (!tar.empty()) {
      const ByteSpan piece = tar.first(std::min(kPieceBytes, tar.size()));
      LAYERFS_CHECK_OK(parser_.Feed(piece));
      LAYERFS_CHECK_OK(chunker_.Feed(piece));
      tar = tar.subspan(piece.size());
    }
    return {};
  }
  Status Finish() {
    LAYERFS_CHECK_OK(parser_.Finish());
    return chunker_.Finish();
  }
  LayerIndexBuilder& builder() { return builder_; }

 private:
  LayerIndexBuilder builder_;
  TarChunker chunker_;
  TarParser parser_;
};

}  // namespace

void GiveLargeBlocksBack() { ::mallopt(M_MMAP_THRESHOLD, 128 << 10); }

uint64_t InFlightBytes(int threads, int layers_at_once) {
  // Measured on two cores with 32 MiB of cache: 4 MiB starve the threads, 40 MiB cost 2 % more
  // processor time than 16.
  constexpr uint64_t kLeastBytes = uint64_t{16} << 20;
  constexpr uint64_t kBytesPerThread = uint64_t{4} << 20;
  constexpr uint64_t kAllLayersBytes = uint64_t{80} << 20;
  return std::clamp(static_cast<uint64_t>(threads) * kBytesPerThread, kLeastBytes,
                    kAllLayersBytes / static_cast<uint64_t>(layers_at_once));
}

Result<ConvertedLayer> ConvertLayer(const BlobReader& read_blob,
                                    const LayerConversion& conversion) {
  LAYERFS_TRY(spool, SpoolFile::Open(conversion.spool_directory));
  ChunkPipeline pipeline({conversion.in_flight_bytes}, *conversion.pool, spool);
  TarStages stages(conversion.policy, conversion.pool->buffers(), pipeline);
  LayerDecoder decoder([&stages](ByteSpan tar) { return stages.Feed(tar); }, conversion.limits);
  LAYERFS_CHECK_OK(read_blob([&](ByteSpan blob) {
    Status fed = decoder.Feed(blob);
    if (decoder.refused_window() && conversion.refused_window != nullptr) {
      *conversion.refused_window = true;
    }
    return fed;
  }));
  LAYERFS_CHECK_OK(decoder.Finish());
  LAYERFS_CHECK_OK(stages.Finish());
  LAYERFS_TRY(tar, pipeline.Finish());
  const bool links_below = stages.builder().links_below();  // The tail empties the builder.
  LAYERFS_TRY(index, AppendLayerTail(tar, stages.builder(), conversion.policy.compression, spool));
  const Digest digest = spool.Finish();
  return ConvertedLayer{std::move(spool), digest, tar.tar_digest, tar.tar_size, index, links_below};
}

}  // namespace layerfs

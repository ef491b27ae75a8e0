// SPDX-License-Identifier: Apache-2.0
// ChunkCompressor: bytes → one zstd frame or one gzip member, as the policy says.
// One thread at a time; make one per thread and reuse it.
#pragma once

#include <algorithm>
#include <utility>
#include <variant>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/gzip_codec.h"
#include "index/base/zstd_codec.h"
#include "index/chunk_ref.h"
#include "tools/convert/chunk_policy.h"

namespace layerfs {

class ChunkCompressor {
 public:
  // `level` is of the compression.
  ChunkCompressor(LayerCompression compression, int level)
      : codec_(compression == LayerCompression::kGzip ? Codec(GzipCompressor(level))
                                                      : Codec(ZstdCompressor(level))) {}

  ChunkCodec codec() const {
    return std::holds_alternative<GzipCompressor>(codec_) ? ChunkCodec::kGzipMember
                                                          : ChunkCodec::kZstdFrame;
  }
  // The stored bytes; they are there until the next call.
  Result<ByteSpan> Compress(ByteSpan data) {
    return std::visit(
        [&](auto& codec) -> Result<ByteSpan> {
          room_.resize(std::max(room_.size(), codec.Bound(data.size())));
          LAYERFS_TRY(size, codec.CompressInto(data, room_));
          return ByteSpan(room_).first(size);
        },
        codec_);
  }

 private:
  using Codec = std::variant<ZstdCompressor, GzipCompressor>;

  Codec codec_;
  Bytes room_;  // used again and again: nothing is cleared or moved
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ChunkRef: where a chunk lies in a blob and what its bytes must be. All that fetch/ knows of the
// index. A value.
#pragma once

#include <cstdint>

#include "index/base/digest.h"

namespace layerfs {

// How a chunk's bytes are stored in its blob. Stored in the format: values never change meaning.
enum class ChunkCodec : uint8_t {
  kStored = 0,       // as they are
  kZstdFrame = 1,    // whole zstd frames
  kGzipMember = 2,   // whole gzip members
  kDeflateSpan = 3,  // part of a deflate stream, with a window (SOCI); reserved
};

struct ChunkRef {
  Digest digest;             // SHA-256 of the `size` uncompressed bytes
  uint64_t blob_offset = 0;  // where the stored bytes begin in the blob
  uint32_t stored_size = 0;  // bytes in the blob
  uint32_t size = 0;         // bytes once decompressed
  ChunkCodec codec = ChunkCodec::kStored;
  auto operator<=>(const ChunkRef&) const = default;
};

// No chunk or segment that layerfs reads may be larger than this once decompressed, and no index
// larger than that (about five million files), so that hostile numbers cannot make the reader
// allocate at will.
inline constexpr uint32_t kMaxChunkBytes = uint32_t{16} << 20;
inline constexpr uint64_t kMaxIndexBytes = uint64_t{512} << 20;
// Nor may a layer's index be larger than so many times the layer's blob, and this. Sound ones reach
// 30 (a million empty files that are numbered; of the index alone, which knows better what repeats,
// 7 KB are stored then for 89 MB); beyond is nothing but a trap.
inline constexpr uint64_t kMaxIndexRatio = 512;
inline constexpr uint64_t kFreeIndexBytes = uint64_t{1} << 20;

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// A segment of the lazy chunk table: the chunks of a run of a layer's tar and the contents (files
// that have chunks of their own) that begin in it. FORMAT.md, "Segments".
// Immutable after Open; thread-safe.
//
// Invariants, checked by Open: chunks are in tar order, adjoin each other and cover exactly
// [tar_begin, tar_end) of the SegmentRef; no chunk is empty or larger than kMaxChunkBytes; contents
// are in tar order and begin at the start of a chunk.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/chunk_ref.h"
#include "index/index.h"

namespace layerfs {

// A chunk is a run of the layer's tar, compressed by itself.
struct Chunk {
  ChunkRef ref;
  uint64_t tar_offset = 0;  // its first byte's offset in the tar; it has ref.size bytes
};

// A file whose payload begins a chunk and shares no chunk with another file: the cache keeps it as
// an object under its own digest, so that images that hold the same file share it whatever lies
// around it. All other files live in the object of the chunk that they share.
struct Content {
  uint64_t tar_offset = 0;
  uint64_t size = 0;
  Digest digest;  // SHA-256 of the payload
};

class ChunkTableSegment {
 public:
  // `bytes` are the segment's decompressed bytes (already verified against where.ref.digest).
  static Result<ChunkTableSegment> Open(ByteSpan bytes, const SegmentRef& where);
  // The inverse; deterministic.
  static Bytes Encode(std::span<const Chunk> chunks, std::span<const Content> contents);

  std::span<const Chunk> chunks() const { return chunks_; }
  std::span<const Content> contents() const { return contents_; }
  // The chunk that covers `tar_offset`; its position in chunks() is (result - chunks().data()).
  const Chunk* FindChunk(uint64_t tar_offset) const;
  // The content that begins exactly at `tar_offset`, if there is one.
  const Content* FindContent(uint64_t tar_offset) const;

 private:
  std::vector<Chunk> chunks_;
  std::vector<Content> contents_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ChunkPipeline: chunks of one layer's tar, in order → digests and frames, made by a pool's
// threads, appended to a spool file in order. Whichever thread finishes the chunk that is due
// writes it and those behind it that are ready, so no thread waits for another's chunk.
// Add and Finish: one thread at a time.
#pragma once

#include <memory>
#include <vector>

#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/chunk_table.h"
#include "tools/convert/compression_pool.h"
#include "tools/convert/spool_file.h"
#include "tools/convert/tar_chunker.h"

namespace layerfs {

class ChunkPipeline {
 public:
  struct Limits {
    // Of chunks and their frames; one chunk is always let in.
    uint64_t in_flight_bytes = 0;
  };
  // Both outlive it. Nobody else appends to the spool file until Finish has returned.
  ChunkPipeline(Limits limits, CompressionPool& pool, SpoolFile& spool);
  // Waits for the chunks in flight.
  ~ChunkPipeline();

  // A chunk in a buffer of the pool's. Waits while too much is in flight. The first error of any
  // chunk comes back, from then on.
  Status Add(TarChunk&& chunk);

  struct Outcome {
    Digest tar_digest;
    uint64_t tar_size = 0;
    std::vector<Chunk> chunks;
    std::vector<Content> contents;
  };
  // Waits for all chunks.
  Result<Outcome> Finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerfs

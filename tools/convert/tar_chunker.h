// SPDX-License-Identifier: Apache-2.0
// TarChunker: the tar's bytes and entries as they come by → its chunks, in order, each in a buffer
// of its own. Where it cuts depends on the tar and the policy alone, never on the sizes in which
// the bytes arrive, and mostly on what is near: one changed file moves only the cuts around it.
// One thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/tar_parser.h"
#include "tools/convert/buffer_pool.h"
#include "tools/convert/chunk_policy.h"

namespace layerfs {

struct TarChunk {
  uint64_t tar_offset = 0;
  Bytes data;  // never empty
  // Where a file with chunks of its own begins here: the bytes of its payload.
  std::optional<uint64_t> content_size;
};

class TarChunker {
 public:
  // The chunks' buffers are taken from `buffers`, which outlives it; who gets a chunk gives its
  // buffer back.
  TarChunker(const ChunkPolicy& policy, BufferPool& buffers,
             std::function<Status(TarChunk&&)> on_chunk);

  // Each entry as the parser tells it. The parser is fed a piece of the tar first, then the chunker
  // the same piece: so all cuts in it are known.
  void Plan(const TarEntry& entry);
  Status Feed(ByteSpan bytes);
  // The tar is over.
  Status Finish();

 private:
  // A run of the tar that is cut every `step` bytes from its begin, and at its end.
  struct Run {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t step = 0;
    std::optional<uint64_t> content_size;
  };

  // `header`: where the entry's headers begin, as far as they are in the open group.
  bool CutsBefore(const TarEntry& entry, uint64_t header, uint64_t group_end);
  void CloseGroup(uint64_t end);
  // What is left of the tar before `known_end` when all entries before it have been planned.
  void CutUnplanned(uint64_t known_end);
  Status EmitKnown();
  Status Emit(uint64_t end);
  uint64_t pending_end() const { return pending_begin_ + pending_.size(); }
  std::optional<uint64_t> NextCut() const;
  size_t RoomForNext() const;

  const ChunkPolicy policy_;
  BufferPool& buffers_;
  const std::function<Status(TarChunk&&)> on_chunk_;
  uint64_t group_begin_ = 0;  // where the open group begins
  std::string directory_;     // of the entry before
  std::deque<Run> runs_;      // closed, not yet emitted; adjoining; before the open group
  Bytes pending_;             // the tar from the last emitted cut on
  uint64_t pending_begin_ = 0;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Any bytes as a segment of the chunk table. Invariant: what Open accepts covers its range of the
// tar without a gap, finds each of its chunks and contents, and encodes to the same bytes again.
#include <cstdlib>

#include "index/chunk_table.h"
#include "tests/index/index_samples.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void Check(layerfs::ByteSpan bytes, const layerfs::SegmentRef& where) {
  const auto segment = layerfs::ChunkTableSegment::Open(bytes, where);
  if (!segment.has_value()) return;
  uint64_t covered = where.tar_begin;
  for (const layerfs::Chunk& chunk : segment->chunks()) {
    Require(chunk.tar_offset == covered);
    Require(segment->FindChunk(covered) == &chunk);
    covered += chunk.ref.size;
    Require(segment->FindChunk(covered - 1) == &chunk);
  }
  Require(covered == where.tar_end);
  for (const layerfs::Content& content : segment->contents()) {
    Require(segment->FindContent(content.tar_offset) == &content);
  }
  const layerfs::Bytes again =
      layerfs::ChunkTableSegment::Encode(segment->chunks(), segment->contents());
  Require(again == layerfs::Bytes(bytes.begin(), bytes.end()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Check({data, size}, layerfs::SampleSegmentRef());
  return 0;
}

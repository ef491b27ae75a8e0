// SPDX-License-Identifier: Apache-2.0
#include "index/chunk_table.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

SegmentRef Where(uint64_t begin = 1000, uint64_t end = 5200) {
  SegmentRef where;
  where.tar_begin = begin;
  where.tar_end = end;
  return where;
}

TEST(ChunkTableTest, WhatWasEncodedIsFound) {
  const std::vector<Chunk> chunks = SampleChunks();
  const auto segment =
      ChunkTableSegment::Open(ChunkTableSegment::Encode(chunks, SampleContents()), Where());
  ASSERT_TRUE(segment.has_value()) << segment.error().context;
  ASSERT_EQ(segment->chunks().size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(segment->chunks()[i].ref, chunks[i].ref);
    EXPECT_EQ(segment->chunks()[i].tar_offset, chunks[i].tar_offset);
  }
  EXPECT_EQ(segment->FindChunk(999), nullptr);
  EXPECT_EQ(segment->FindChunk(1000)->ref, chunks[0].ref);
  EXPECT_EQ(segment->FindChunk(1023)->ref, chunks[0].ref);
  EXPECT_EQ(segment->FindChunk(5119)->ref, chunks[1].ref);
  EXPECT_EQ(segment->FindChunk(5199)->ref, chunks[2].ref);
  EXPECT_EQ(segment->FindChunk(5200), nullptr);
  ASSERT_NE(segment->FindContent(1024), nullptr);
  EXPECT_EQ(segment->FindContent(1024)->digest, SampleContents()[0].digest);
  EXPECT_EQ(segment->FindContent(1024)->size, 4150u);
  EXPECT_EQ(segment->FindContent(1025), nullptr);
  EXPECT_EQ(segment->FindContent(0), nullptr);
}

TEST(ChunkTableTest, ChunksMayLieInAnyOrderInTheBlob) {
  std::vector<Chunk> chunks = SampleChunks();
  std::swap(chunks[0].ref.blob_offset, chunks[2].ref.blob_offset);
  const auto segment = ChunkTableSegment::Open(ChunkTableSegment::Encode(chunks, {}), Where());
  ASSERT_TRUE(segment.has_value()) << segment.error().context;
  EXPECT_EQ(segment->chunks()[0].ref, chunks[0].ref);
  EXPECT_EQ(segment->chunks()[1].ref, chunks[1].ref);
}

struct BadCase {
  const char* name;
  void (*change)(std::vector<Chunk>& chunks, std::vector<Content>& contents);
  uint64_t tar_end = 5200;
};

class ChunkTableBadTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(ChunkTableBadTest, IsRefused) {
  std::vector<Chunk> chunks = SampleChunks();
  std::vector<Content> contents = SampleContents();
  GetParam().change(chunks, contents);
  const auto segment = ChunkTableSegment::Open(ChunkTableSegment::Encode(chunks, contents),
                                               Where(1000, GetParam().tar_end));
  ASSERT_FALSE(segment.has_value());
  EXPECT_EQ(segment.error().code, ErrorCode::kCorrupt);
}

using Chunks = std::vector<Chunk>&;
using Contents = std::vector<Content>&;

INSTANTIATE_TEST_SUITE_P(
    Rows, ChunkTableBadTest,
    ::testing::Values(
        BadCase{"EndsEarly", [](Chunks chunks, Contents) { chunks.pop_back(); }},
        BadCase{"EndsLate", [](Chunks chunks, Contents) { chunks[1].ref.size += 1; }},
        BadCase{"RangeThatCannotBe", [](Chunks, Contents) {}, UINT64_MAX},
        BadCase{"RangeTurnedAround", [](Chunks, Contents) {}, 999},
        BadCase{"NoChunks",
                [](Chunks chunks, Contents contents) {
                  chunks.clear();
                  contents.clear();
                }},
        BadCase{"EmptyChunk", [](Chunks chunks, Contents) { chunks[0].ref.size = 0; }, 5176},
        BadCase{"HugeChunk",
                [](Chunks chunks, Contents) { chunks[0].ref.size = kMaxChunkBytes + 1; },
                5176 + uint64_t{kMaxChunkBytes} + 1},
        BadCase{"NothingStored", [](Chunks chunks, Contents) { chunks[0].ref.stored_size = 0; }},
        BadCase{"HugeStored",
                [](Chunks chunks, Contents) { chunks[0].ref.stored_size = kMaxChunkBytes + 1; }},
        BadCase{"StoredWithAnotherSize",
                [](Chunks chunks, Contents) { chunks[2].ref.stored_size = 79; }},
        BadCase{"BlobOffsetNegative",
                [](Chunks chunks, Contents) { chunks[1].ref.blob_offset = UINT64_MAX - 5; }},
        BadCase{"ContentInsideAChunk",
                [](Chunks, Contents contents) { contents[0].tar_offset = 1025; }},
        BadCase{"ContentOutside", [](Chunks, Contents contents) { contents[0].tar_offset = 6000; }},
        BadCase{"ContentsOutOfOrder",
                [](Chunks, Contents contents) {
                  contents = {{5120, 5, Digest{}}, {1024, 5, Digest{}}};
                }},
        BadCase{"ContentsOverlap",
                [](Chunks, Contents contents) {
                  contents = {{1024, 4097, Digest{}}, {5120, 5, Digest{}}};
                }},
        BadCase{"EmptyContent", [](Chunks, Contents contents) { contents[0].size = 0; }},
        BadCase{"ContentOverflows",
                [](Chunks, Contents contents) { contents[0].size = UINT64_MAX; }}),
    [](const auto& info) { return info.param.name; });

TEST(ChunkTableTest, AReservedCodecIsUnsupported) {
  std::vector<Chunk> chunks = SampleChunks();
  chunks[1].ref.codec = ChunkCodec::kDeflateSpan;
  const auto segment = ChunkTableSegment::Open(ChunkTableSegment::Encode(chunks, {}), Where());
  EXPECT_EQ(segment.error().code, ErrorCode::kUnsupported);
}

TEST(ChunkTableTest, EveryTruncationIsRefused) {
  Bytes good = ChunkTableSegment::Encode(SampleChunks(), SampleContents());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ChunkTableSegment::Open(ByteSpan(good).first(size), Where()).has_value());
  }
  good.push_back(0);
  EXPECT_FALSE(ChunkTableSegment::Open(good, Where()).has_value());
}

TEST(ChunkTableTest, AFlippedByteIsRefusedOrLeavesASoundTable) {
  const Bytes good = ChunkTableSegment::Encode(SampleChunks(), SampleContents());
  for (size_t at = 0; at < good.size(); ++at) {
    for (const uint8_t flip : {0x01, 0x80, 0xff}) {
      Bytes bad = good;
      bad[at] ^= flip;
      const auto segment = ChunkTableSegment::Open(bad, Where());
      if (!segment.has_value()) continue;
      uint64_t end = 1000;
      for (const Chunk& chunk : segment->chunks()) {
        EXPECT_EQ(chunk.tar_offset, end);
        end += chunk.ref.size;
        EXPECT_EQ(segment->FindChunk(end - 1), &chunk);
      }
      EXPECT_EQ(end, 5200u);
    }
  }
}

}  // namespace
}  // namespace layerfs

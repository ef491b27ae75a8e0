// SPDX-License-Identifier: Apache-2.0
#include "index/chunk_table.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

Chunk MakeChunk(uint64_t tar_offset, uint32_t size) {
  return Chunk{ChunkRef{Digest::Of(AsBytes(std::to_string(tar_offset))), tar_offset / 2,
                        size / 2 + 1, size, ChunkCodec::kZstdFrame},
               tar_offset};
}

const std::vector<Chunk> kChunks = {MakeChunk(1000, 24), MakeChunk(1024, 4096),
                                    MakeChunk(5120, 80)};
const std::vector<Content> kContents = {{1024, 4176, Digest::Of(AsBytes("content"))}};

SegmentRef Where(uint64_t begin = 1000, uint64_t end = 5200) {
  SegmentRef where;
  where.tar_begin = begin;
  where.tar_end = end;
  return where;
}

TEST(ChunkTableTest, WhatWasEncodedIsFound) {
  const auto segment =
      ChunkTableSegment::Open(ChunkTableSegment::Encode(kChunks, kContents), Where());
  ASSERT_TRUE(segment.has_value()) << segment.error().context;
  EXPECT_EQ(segment->FindChunk(999), nullptr);
  EXPECT_EQ(segment->FindChunk(1000)->ref, kChunks[0].ref);
  EXPECT_EQ(segment->FindChunk(1023)->ref, kChunks[0].ref);
  EXPECT_EQ(segment->FindChunk(5119)->ref, kChunks[1].ref);
  EXPECT_EQ(segment->FindChunk(5200), nullptr);
  ASSERT_NE(segment->FindContent(1024), nullptr);
  EXPECT_EQ(segment->FindContent(1024)->digest, kContents[0].digest);
  EXPECT_EQ(segment->FindContent(1025), nullptr);
}

struct BadCase {
  const char* name;
  std::vector<Chunk> chunks;
  std::vector<Content> contents;
  SegmentRef where;
};

class ChunkTableBadTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(ChunkTableBadTest, IsRefused) {
  const auto segment = ChunkTableSegment::Open(
      ChunkTableSegment::Encode(GetParam().chunks, GetParam().contents), GetParam().where);
  ASSERT_FALSE(segment.has_value());
  EXPECT_EQ(segment.error().code, ErrorCode::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, ChunkTableBadTest,
    ::testing::Values(
        BadCase{"Gap", {MakeChunk(1000, 24), MakeChunk(1025, 4175)}, {}, Where()},
        BadCase{"Overlap", {MakeChunk(1000, 24), MakeChunk(1023, 4177)}, {}, Where()},
        BadCase{"EndsEarly", {MakeChunk(1000, 24)}, {}, Where()},
        BadCase{"BeginsLate", kChunks, kContents, Where(999)}, BadCase{"NoChunks", {}, {}, Where()},
        BadCase{"EmptyChunk", {MakeChunk(1000, 0), MakeChunk(1000, 4200)}, {}, Where()},
        BadCase{"HugeChunk", {MakeChunk(0, kMaxChunkBytes + 1)}, {}, Where(0, kMaxChunkBytes + 1)},
        BadCase{"ContentInsideAChunk", kChunks, {{1025, 5, Digest{}}}, Where()},
        BadCase{"ContentOutside", kChunks, {{6000, 5, Digest{}}}, Where()},
        BadCase{"ContentsOutOfOrder", kChunks, {{5120, 5, Digest{}}, {1024, 5, Digest{}}}, Where()},
        BadCase{"EmptyContent", kChunks, {{1024, 0, Digest{}}}, Where()}),
    [](const auto& info) { return info.param.name; });

TEST(ChunkTableTest, EveryTruncationIsRefused) {
  const Bytes good = ChunkTableSegment::Encode(kChunks, kContents);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ChunkTableSegment::Open(ByteSpan(good).first(size), Where()).has_value());
  }
}

}  // namespace
}  // namespace layerfs

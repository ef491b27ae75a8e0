// SPDX-License-Identifier: Apache-2.0
#include "index/index_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

using layout::DirentRecord;
using layout::InodeRecord;
using layout::LayerRecord;
using layout::SectionId;
using layout::SegmentRecord;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Check(Bytes bytes) {
  const auto index = Index::Open(std::move(bytes));
  EXPECT_TRUE(index.has_value()) << index.error().context;
  return index.has_value() ? CheckIndex(*index) : std::vector<std::string>{};
}

TEST(IndexCheckTest, SoundIndexesHaveNoFindings) {
  EXPECT_THAT(Check(SampleTree()), IsEmpty());
  EXPECT_THAT(Check(SampleLayer()), IsEmpty());
}

// Changes that Open takes, because nobody can be harmed by them.
struct CheckCase {
  const char* name;
  const char* finding;
  Bytes bytes;
};

class IndexCheckFinds : public ::testing::TestWithParam<CheckCase> {};

TEST_P(IndexCheckFinds, WhatIsWrong) {
  EXPECT_THAT(Check(GetParam().bytes), Contains(HasSubstr(GetParam().finding)));
}

template <typename Record>
Bytes Tree(SectionId id, uint64_t position, void (*change)(Record&)) {
  return WithRecord<Record>(SampleTree(), id, position, change);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, IndexCheckFinds,
    ::testing::Values(
        CheckCase{"AnInodeWithoutAName", "inode 5 has no name",
                  Tree<DirentRecord>(SectionId::kDirents, 3, [](DirentRecord& d) { d.inode = 6; })},
        CheckCase{"TooFewLinks", "inode 11 says 1 links and has 2 names",
                  Tree<InodeRecord>(SectionId::kInodes, 11, [](InodeRecord& i) { i.nlink = 1; })},
        CheckCase{"ADirectorysLinks", "directory inode 1 says 9 links, not 5",
                  Tree<InodeRecord>(SectionId::kInodes, 1, [](InodeRecord& i) { i.nlink = 9; })},
        CheckCase{"NoBlob", "layer 1 names no blob",
                  Tree<LayerRecord>(SectionId::kLayers, 1, [](LayerRecord& l) { l.blob = {}; })},
        CheckCase{"NoDiffId", "layer 0 has no diff ID",
                  Tree<LayerRecord>(SectionId::kLayers, 0, [](LayerRecord& l) { l.diff_id = {}; })},
        CheckCase{
            "ChunkTableEndsEarly", "the chunk table of layer 1 ends at 3072 of 3073",
            Tree<LayerRecord>(SectionId::kLayers, 1, [](LayerRecord& l) { l.tar_size = 3073; })},
        CheckCase{"SegmentsOverlapInTheBlob", "segments of layer 0 overlap at blob offset 4009",
                  Tree<SegmentRecord>(SectionId::kSegments, 1,
                                      [](SegmentRecord& s) { s.blob_offset = 4009; })},
        CheckCase{
            "FilesOverlap", "inodes 5 and 11 overlap at tar offset 2560",
            Tree<InodeRecord>(SectionId::kInodes, 5, [](InodeRecord& i) { i.location = 2559; })},
        CheckCase{
            "UnusedAttributes", "XATTR_SETS: nobody refers to 1 of it",
            WithRecord<InodeRecord>(
                Tree<InodeRecord>(SectionId::kInodes, 11, [](InodeRecord& i) { i.xattr_set = 0; }),
                SectionId::kInodes, 14, [](InodeRecord& i) { i.xattr_set = 0; })},
        CheckCase{"UnusedBytesOfATarget", "TARGETS: nobody refers to 1 of it, the first at 7",
                  Tree<InodeRecord>(SectionId::kInodes, 6, [](InodeRecord& i) { i.size = 7; })},
        CheckCase{
            "UnusedBytesOfAName", "NAMES: nobody refers to 1 of it",
            Tree<DirentRecord>(SectionId::kDirents, 4, [](DirentRecord& d) { d.name_size = 3; })},
        CheckCase{
            "UnusedSparseSet", "SPARSE_SETS: nobody refers to 1 of it",
            Tree<InodeRecord>(SectionId::kInodes, 8, [](InodeRecord& i) { i.sparse_set = 2; })}),
    [](const auto& info) { return info.param.name; });

ChunkTableSegment OpenSegment(const std::vector<Chunk>& chunks,
                              const std::vector<Content>& contents) {
  return ChunkTableSegment::Open(ChunkTableSegment::Encode(chunks, contents), SampleSegmentRef())
      .value();
}

TEST(SegmentCheckTest, ChunksMustLieInTheBlobSideBySide) {
  std::vector<Chunk> chunks = SampleChunks();
  EXPECT_THAT(CheckSegment(OpenSegment(chunks, {}), 20'080), IsEmpty());
  EXPECT_THAT(CheckSegment(OpenSegment(chunks, {}), 20'079),
              Contains(HasSubstr("tar offset 5120 lies outside the blob")));
  chunks[2].ref.blob_offset = 12'067;
  EXPECT_THAT(CheckSegment(OpenSegment(chunks, {}), 20'080),
              Contains(HasSubstr("tar offset 5120 overlaps another in the blob")));
}

TEST(SegmentCheckTest, AContentIsAsLargeAsItsFile) {
  const Index layer = Index::Open(SampleLayer()).value();  // a file of 12 bytes at 1536
  const auto segment = [](uint64_t size) {
    SegmentRef where;
    where.tar_begin = 0;
    where.tar_end = 4096;
    const std::vector<Chunk> chunks = {
        {ChunkRef{Digest{}, 0, 10, 1536, ChunkCodec::kZstdFrame}, 0},
        {ChunkRef{Digest{}, 10, 10, 2560, ChunkCodec::kZstdFrame}, 1536}};
    const std::vector<Content> contents = {{1536, size, Digest{}}};
    return ChunkTableSegment::Open(ChunkTableSegment::Encode(chunks, contents), where).value();
  };
  EXPECT_THAT(CheckContents(layer, segment(12)), IsEmpty());
  EXPECT_THAT(CheckContents(layer, segment(13)), Contains(HasSubstr("has 13 bytes, its file 12")));
}

}  // namespace
}  // namespace layerfs

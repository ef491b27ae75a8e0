// SPDX-License-Identifier: Apache-2.0
#include "index/index_codec.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>
#include <string>

#include "index/base/zstd_codec.h"
#include "index/index_writer.h"
#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

// A directory of `files` files, laid out as a tar in the order of the names would be.
Bytes FlatTree(uint32_t files) {
  IndexWriter writer(IndexKind::kTree);
  Inode inode;
  inode.mode = S_IFDIR | 0755;
  inode.nlink = 2;
  writer.AddInode({.inode = inode});
  inode.mode = S_IFREG | 0644;
  inode.nlink = 1;
  uint64_t tar_offset = 1024;
  std::minstd_rand random(1);
  std::vector<std::string> names;
  std::vector<Dirent> entries;
  for (uint32_t i = 0; i < files; ++i) {
    names.push_back("file" + std::to_string(1'000'000 + i));
    inode.size = random() % 20'000;
    inode.data_offset = tar_offset;
    tar_offset += 512 + AlignUp(inode.size, 512);
    entries.push_back({"", writer.AddInode({.inode = inode})});
  }
  for (uint32_t i = 0; i < files; ++i) entries[i].name = names[i];
  writer.SetEntries(kRootInode, entries);
  const LayerInfo layer{Digest::Of(AsBytes("b")), 1, Digest::Of(AsBytes("d")), tar_offset, 0, 0};
  return std::move(writer).Finish({&layer, 1}, {}).value();
}

size_t CompressedSize(ByteSpan bytes) {
  Bytes out;
  EXPECT_TRUE(ZstdCompressor(9).Compress(bytes, out).has_value());
  return out.size();
}

TEST(IndexCodecTest, DecodingGivesTheIndexBack) {
  // Around the codec's blocks of records, too.
  for (const Bytes& index : {SampleTree(), SampleLayer(), FlatTree(0), FlatTree(254), FlatTree(255),
                             FlatTree(256), FlatTree(1000)}) {
    const auto arranged = EncodeIndex(index);
    ASSERT_TRUE(arranged.has_value());
    EXPECT_EQ(arranged->size(), index.size());
    EXPECT_EQ(DecodeIndex(*arranged).value(), index);
  }
}

TEST(IndexCodecTest, WhatIsExpectedBecomesZero) {
  const Bytes index = FlatTree(1000);
  const Bytes arranged = EncodeIndex(index).value();
  const uint64_t dirents = SectionOffset(arranged, layout::SectionId::kDirents);
  const uint64_t count = 1000;
  // Name offsets follow each other; inodes too, but for the first, which is 2 and not 0.
  for (uint64_t i = 0; i < 4 * count; ++i) EXPECT_EQ(arranged[dirents + i], 0) << i;
  EXPECT_EQ(arranged[dirents + 4 * count], 4);
  for (uint64_t i = 1; i < 4 * count; ++i) EXPECT_EQ(arranged[dirents + 4 * count + i], 0) << i;
}

TEST(IndexCodecTest, CompressesToAFewBytesAFile) {
  const uint32_t files = 20'000;
  const Bytes index = FlatTree(files);
  const size_t plain = CompressedSize(index);
  const size_t arranged = CompressedSize(EncodeIndex(index).value());
  EXPECT_LT(arranged, plain / 2);
  EXPECT_LT(arranged, 6 * files);
}

// Whatever the sections hold, both directions undo each other.
TEST(IndexCodecTest, IsOneToOneOverAnyBytesInTheSections) {
  std::minstd_rand random(7);
  for (int round = 0; round < 50; ++round) {
    Bytes index = FlatTree(300);
    const uint64_t begin = SectionOffset(index, layout::SectionId::kInodes);
    const uint64_t end = SectionOffset(index, layout::SectionId::kNames);
    for (uint64_t at = begin; at < end; ++at) index[at] = static_cast<uint8_t>(random());
    const auto arranged = EncodeIndex(index);
    ASSERT_TRUE(arranged.has_value());
    EXPECT_EQ(DecodeIndex(*arranged).value(), index);
    const auto decoded = DecodeIndex(index);
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(EncodeIndex(*decoded).value(), index);
  }
}

TEST(IndexCodecTest, WhatIsNoIndexIsRefused) {
  Bytes index = SampleTree();
  EXPECT_EQ(DecodeIndex({}).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(DecodeIndex(ByteSpan(index).first(index.size() - 1)).error().code, ErrorCode::kCorrupt);
  index[sizeof(layout::Header)] ^= 1;  // the section table
  EXPECT_EQ(EncodeIndex(index).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(DecodeIndex(index).error().code, ErrorCode::kCorrupt);
}

TEST(IndexCodecTest, AnArrangedIndexIsNotTakenForAnIndex) {
  EXPECT_EQ(Index::Open(EncodeIndex(SampleTree()).value()).error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/index.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "index/base/xxh3.h"
#include "index/index_layout.h"
#include "index/index_writer.h"

namespace layerfs {
namespace {

Inode Directory() {
  Inode inode;
  inode.mode = S_IFDIR | 0755;
  inode.nlink = 2;
  return inode;
}

Inode Regular(uint64_t size, uint64_t data_offset) {
  Inode inode;
  inode.mode = S_IFREG | 0644;
  inode.nlink = 1;
  inode.size = size;
  inode.data_offset = data_offset;
  inode.mtime = Timestamp{-5, 999'999'999};
  return inode;
}

SegmentRef Segment(uint64_t begin, uint64_t end) {
  SegmentRef segment;
  segment.ref = ChunkRef{Digest::Of(AsBytes("segment")), begin, 10, 20, ChunkCodec::kZstdFrame};
  segment.tar_begin = begin;
  segment.tar_end = end;
  return segment;
}

// root: a/ (with b, a sparse file), dev, file, link
Bytes SmallTree(IndexKind kind = IndexKind::kTree) {
  IndexWriter writer(kind);
  const InodeNumber root = writer.AddInode({.inode = Directory()});
  const InodeNumber a = writer.AddInode({.inode = Directory()});
  const std::vector<Xattr> xattrs = {{"user.z", "1"},
                                     {"security.capability", std::string_view("\0x", 2)}};
  const InodeNumber file = writer.AddInode({.inode = Regular(100, 512), .xattrs = xattrs});
  const std::vector<DataExtent> extents = {{4096, 1024, 100}, {8192, 1536, 8}};
  const InodeNumber sparse =
      writer.AddInode({.inode = Regular(10'000, 0), .sparse = true, .extents = extents});
  Inode link = Directory();
  link.mode = S_IFLNK | 0777;
  const InodeNumber symlink = writer.AddInode({.inode = link, .target = "a/b"});
  Inode device = Directory();
  device.mode = S_IFCHR | 0600;
  device.rdev = makedev(300, 70'000);
  const InodeNumber character = writer.AddInode({.inode = device});
  const std::vector<Dirent> in_a = {{"b", sparse}};
  writer.SetEntries(a, in_a);
  const std::vector<Dirent> in_root = {
      {"a", a}, {"dev", character}, {"file", file}, {"link", symlink}};
  writer.SetEntries(root, in_root);
  LayerInfo layer{Digest{}, 0, Digest::Of(AsBytes("tar")), 10'240, 0, 2};
  if (kind == IndexKind::kTree) {
    layer.blob = Digest::Of(AsBytes("blob"));
    layer.blob_size = 5000;
  }
  const std::vector<SegmentRef> segments = {Segment(0, 4096), Segment(4096, 10'240)};
  return std::move(writer).Finish({&layer, 1}, segments).value();
}

TEST(IndexTest, WhatWasWrittenIsRead) {
  auto opened = Index::Open(SmallTree());
  ASSERT_TRUE(opened.has_value()) << opened.error().context;
  const Index& index = *opened;
  EXPECT_EQ(index.kind(), IndexKind::kTree);
  EXPECT_EQ(index.inode_count(), 6u);
  EXPECT_EQ(index.Get(kRootInode).parent, kRootInode);
  const auto file = index.Lookup(kRootInode, "file");
  ASSERT_TRUE(file.has_value());
  const Inode inode = index.Get(file->inode);
  EXPECT_EQ(inode.size, 100u);
  EXPECT_EQ(inode.data_offset, 512u);
  EXPECT_EQ(inode.mtime, (Timestamp{-5, 999'999'999}));
  EXPECT_EQ(index.FindXattr(file->inode, "security.capability"), std::string_view("\0x", 2));
  EXPECT_EQ(index.FindXattr(file->inode, "user.none"), std::nullopt);
  EXPECT_EQ(index.Xattrs(file->inode).front().name, "security.capability");
  EXPECT_EQ(index.Target(index.Lookup(kRootInode, "link")->inode), "a/b");
  EXPECT_EQ(index.Get(index.Lookup(kRootInode, "dev")->inode).rdev, makedev(300, 70'000));
  EXPECT_EQ(index.total_file_bytes(), 10'100u);
  EXPECT_FALSE(index.Lookup(kRootInode, "fil").has_value());
  EXPECT_FALSE(index.Lookup(kRootInode, "filf").has_value());
  EXPECT_FALSE(index.Lookup(kRootInode, "").has_value());
}

TEST(IndexTest, DataExtentsAreClippedToTheRange) {
  const Index index = Index::Open(SmallTree()).value();
  const InodeNumber sparse = ResolvePath(index, "/a/b", false).value();
  EXPECT_TRUE(index.IsSparse(sparse));
  EXPECT_TRUE(index.DataExtents(sparse, 0, 4096).empty());
  const auto across = index.DataExtents(sparse, 4100, 5000);
  ASSERT_EQ(across.size(), 2u);
  EXPECT_EQ(across[0].file_offset, 4100u);
  EXPECT_EQ(across[0].tar_offset, 1028u);
  EXPECT_EQ(across[0].size, 96u);
  EXPECT_EQ(across[1].file_offset, 8192u);
  EXPECT_EQ(across[1].size, 8u);
  const InodeNumber file = ResolvePath(index, "file", false).value();
  const auto tail = index.DataExtents(file, 90, UINT64_MAX);
  ASSERT_EQ(tail.size(), 1u);
  EXPECT_EQ(tail[0].tar_offset, 602u);
  EXPECT_EQ(tail[0].size, 10u);
  EXPECT_TRUE(index.DataExtents(file, 100, 1).empty());
}

TEST(IndexTest, SegmentsAreFoundByTarOffset) {
  const Index index = Index::Open(SmallTree()).value();
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 0), 0u);
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 4095), 0u);
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 4096), 1u);
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 10'240), std::nullopt);
  EXPECT_EQ(index.FindSegment(LayerNumber{1}, 0), std::nullopt);
  EXPECT_EQ(index.Segment(1).tar_end, 10'240u);
}

TEST(IndexTest, PathsAreResolvedInsideTheRoot) {
  const Index index = Index::Open(SmallTree()).value();
  const InodeNumber sparse = index.Lookup(index.Lookup(kRootInode, "a")->inode, "b")->inode;
  EXPECT_EQ(ResolvePath(index, "link", true).value(), sparse);
  EXPECT_NE(ResolvePath(index, "link", false).value(), sparse);
  EXPECT_EQ(ResolvePath(index, "/../..//a/./b", false).value(), sparse);
  EXPECT_EQ(ResolvePath(index, "", true).value(), kRootInode);
  EXPECT_EQ(ResolvePath(index, "a/none", true).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(ResolvePath(index, "file/x", true).error().system_errno, ENOTDIR);
}

// Puts the checksums right again after a test has broken a byte, so that the structure is judged.
void Reseal(Bytes& bytes) {
  layout::Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  const uint64_t table_size = uint64_t{header.section_count} * sizeof(layout::SectionRecord);
  if (!RangeFits(sizeof header, table_size, bytes.size())) return;
  for (uint32_t i = 0; i < header.section_count; ++i) {
    uint8_t* const at = bytes.data() + sizeof header + i * sizeof(layout::SectionRecord);
    layout::SectionRecord record;
    std::memcpy(&record, at, sizeof record);
    if (!RangeFits(record.offset, record.size, bytes.size())) continue;
    record.checksum = Xxh3(ByteSpan(bytes).subspan(record.offset, record.size));
    std::memcpy(at, &record, sizeof record);
  }
  header.checksum =
      layout::HeaderChecksum(header, ByteSpan(bytes).subspan(sizeof header, table_size));
  std::memcpy(bytes.data(), &header, sizeof header);
}

// Reads everything that can be read, as a daemon would.
void Walk(const Index& index) {
  for (uint32_t i = 1; i <= index.inode_count(); ++i) {
    const InodeNumber number{i};
    const Inode inode = index.Get(number);
    index.Target(number);
    index.Xattrs(number);
    index.DataExtents(number, 0, UINT64_MAX);
    for (uint32_t e = 0; inode.is_directory() && e < inode.entry_count; ++e) {
      index.Lookup(number, index.EntryAt(number, e).name);
    }
  }
}

TEST(IndexTest, EveryBrokenByteIsRefusedOrHarmless) {
  const Bytes good = SmallTree();
  int refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    for (const uint8_t flip : {0x01, 0x80, 0xff}) {
      Bytes bad = good;
      bad[at] ^= flip;
      EXPECT_FALSE(at < sizeof(layout::Header) && Index::Open(bad).has_value()) << at;
      if (at >= offsetof(layout::Header, section_count)) Reseal(bad);
      auto opened = Index::Open(bad);
      if (opened.has_value()) {
        Walk(*opened);
      } else {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 500);
}

TEST(IndexTest, EveryTruncationIsRefused) {
  const Bytes good = SmallTree();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(
        Index::Open(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size))).has_value());
  }
}

TEST(IndexTest, UnknownIncompatFeaturesAreRefusedAndCompatOnesIgnored) {
  Bytes bytes = SmallTree();
  bytes[offsetof(layout::Header, compat)] = 0x40;
  Reseal(bytes);
  EXPECT_TRUE(Index::Open(bytes).has_value());
  bytes[offsetof(layout::Header, incompat)] = 0x40;
  Reseal(bytes);
  EXPECT_EQ(Index::Open(bytes).error().code, ErrorCode::kUnsupported);
}

TEST(IndexTest, ATreeRefusesWhiteouts) {
  IndexWriter writer(IndexKind::kTree);
  const InodeNumber root = writer.AddInode({.inode = Directory()});
  const std::vector<Dirent> entries = {{"gone", kNoInode}};
  writer.SetEntries(root, entries);
  EXPECT_EQ(Index::Open(std::move(writer).Finish({}, {}).value()).error().code,
            ErrorCode::kCorrupt);
}

TEST(IndexTest, WritingTwiceGivesTheSameBytes) { EXPECT_EQ(SmallTree(), SmallTree()); }

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/index.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <string>

#include "index/index_writer.h"
#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

InodeNumber Find(const Index& index, std::string_view path) {
  const auto found = ResolvePath(index, path, false);
  EXPECT_TRUE(found.has_value()) << path;
  return found.value_or(kNoInode);
}

TEST(IndexTest, ATreeIsReadAsItWasWritten) {
  const Index index = Index::Open(SampleTree()).value();
  EXPECT_EQ(index.kind(), IndexKind::kTree);
  EXPECT_EQ(index.inode_count(), 15u);
  EXPECT_FALSE(index.Contains(kNoInode));
  EXPECT_TRUE(index.Contains(InodeNumber{15}));
  EXPECT_FALSE(index.Contains(InodeNumber{16}));
  EXPECT_EQ(index.Get(kRootInode).parent, kRootInode);
  EXPECT_EQ(index.Get(kRootInode).entry_count, 6u);
  const Inode file = index.Get(Find(index, "file"));
  EXPECT_EQ(file.size, 100u);
  EXPECT_EQ(file.data_offset, 512u);
  EXPECT_EQ(file.mtime, (Timestamp{-5, 999'999'999}));
  EXPECT_EQ(file.gid, 4'294'967'294u);
  EXPECT_EQ(index.Target(Find(index, "link")), "a/../a/b");
  EXPECT_EQ(index.Get(Find(index, "link")).size, 8u);
  EXPECT_EQ(index.Target(Find(index, "file")), "");
  EXPECT_EQ(index.Get(Find(index, "dev/char")).rdev, makedev(300, 70'000));
  EXPECT_EQ(index.Get(Find(index, "na\xefve")).layer, LayerNumber{1});
  EXPECT_EQ(index.total_file_bytes(), 100u + 7 + 10'000 + 6000 + (uint64_t{5} << 30));
  EXPECT_EQ(index.layers()[1].blob, Digest::Of(AsBytes("blob 1")));
}

TEST(IndexTest, ALayersMarksAreRead) {
  const Index index = Index::Open(SampleLayer()).value();
  EXPECT_EQ(index.kind(), IndexKind::kLayer);
  EXPECT_TRUE(index.Get(kRootInode).implicit);
  EXPECT_TRUE(index.Get(index.Lookup(kRootInode, "etc")->inode).opaque);
  EXPECT_TRUE(index.Lookup(kRootInode, "gone")->is_whiteout());
  const InodeNumber link = index.Lookup(kRootInode, "perl")->inode;
  EXPECT_TRUE(index.Get(link).unresolved_link);
  EXPECT_EQ(index.Target(link), "usr/bin/perl5.36.0");
}

TEST(IndexTest, LookupFindsExactlyTheNamesThatAreThere) {
  const Index index = Index::Open(SampleTree()).value();
  for (const std::string_view name : {"", "A", "aa", "bi", "binn", "fil", "filf", "zz", "na"}) {
    EXPECT_FALSE(index.Lookup(kRootInode, name).has_value()) << name;
  }
  for (uint32_t i = 0; i < index.Get(kRootInode).entry_count; ++i) {
    const Dirent entry = index.EntryAt(kRootInode, i);
    EXPECT_EQ(index.Lookup(kRootInode, entry.name)->inode, entry.inode);
  }
  EXPECT_FALSE(index.Lookup(Find(index, "file"), "x").has_value());
}

TEST(IndexTest, AttributesAreSortedAndFound) {
  const Index index = Index::Open(SampleTree()).value();
  const InodeNumber shell = Find(index, "bin/sh");
  const auto xattrs = index.Xattrs(shell);
  ASSERT_EQ(xattrs.size(), 2u);
  EXPECT_EQ(xattrs[0].name, "security.capability");
  EXPECT_EQ(xattrs[1].name, "user.z");
  EXPECT_EQ(index.FindXattr(shell, "security.capability"), std::string_view("\0\x01\xff", 3));
  EXPECT_EQ(index.FindXattr(shell, "user.z"), "");
  EXPECT_EQ(index.FindXattr(shell, "user.none"), std::nullopt);
  EXPECT_FALSE(index.HasXattrs(Find(index, "file")));
  EXPECT_EQ(index.FindXattr(Find(index, "file"), "user.z"), std::nullopt);
}

TEST(IndexTest, DataExtentsAreClippedToTheRange) {
  const Index index = Index::Open(SampleTree()).value();
  const InodeNumber sparse = Find(index, "/a/b");
  EXPECT_TRUE(index.IsSparse(sparse));
  EXPECT_TRUE(index.DataExtents(sparse, 0, 4096).empty());
  EXPECT_TRUE(index.DataExtents(sparse, 4196, 3996).empty());
  EXPECT_TRUE(index.DataExtents(sparse, 4100, 0).empty());
  const auto across = index.DataExtents(sparse, 4100, 5000);
  ASSERT_EQ(across.size(), 2u);
  EXPECT_EQ(across[0].file_offset, 4100u);
  EXPECT_EQ(across[0].tar_offset, 1028u);
  EXPECT_EQ(across[0].size, 96u);
  EXPECT_EQ(across[1].file_offset, 8192u);
  EXPECT_EQ(across[1].size, 8u);
  const InodeNumber file = Find(index, "file");
  EXPECT_FALSE(index.IsSparse(file));
  const auto tail = index.DataExtents(file, 90, UINT64_MAX);
  ASSERT_EQ(tail.size(), 1u);
  EXPECT_EQ(tail[0].tar_offset, 602u);
  EXPECT_EQ(tail[0].size, 10u);
  EXPECT_TRUE(index.DataExtents(file, 100, 1).empty());
  EXPECT_TRUE(index.DataExtents(Find(index, "a/hole"), 0, UINT64_MAX).empty());
  EXPECT_TRUE(index.DataExtents(Find(index, "a/empty"), 0, 10).empty());
  EXPECT_TRUE(index.DataExtents(kRootInode, 0, 10).empty());
}

TEST(IndexTest, SegmentsAreFoundByLayerAndTarOffset) {
  const Index index = Index::Open(SampleTree()).value();
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 0), 0u);
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 4095), 0u);
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 4096), 1u);
  EXPECT_EQ(index.FindSegment(LayerNumber{0}, 10'240), std::nullopt);
  EXPECT_EQ(index.FindSegment(LayerNumber{1}, 0), 2u);
  EXPECT_EQ(index.FindSegment(LayerNumber{1}, 3072), std::nullopt);
  EXPECT_EQ(index.FindSegment(LayerNumber{2}, 0), std::nullopt);
  EXPECT_EQ(index.Segment(1).tar_end, 10'240u);
  EXPECT_EQ(index.Segment(2).layer, LayerNumber{1});
}

TEST(IndexTest, PathsAreResolvedInsideTheRoot) {
  const Index index = Index::Open(SampleTree()).value();
  const InodeNumber sparse = index.Lookup(index.Lookup(kRootInode, "a")->inode, "b")->inode;
  EXPECT_EQ(ResolvePath(index, "link", true).value(), sparse);
  EXPECT_NE(ResolvePath(index, "link", false).value(), sparse);
  EXPECT_EQ(ResolvePath(index, "/../..//a/./b", false).value(), sparse);
  EXPECT_EQ(ResolvePath(index, "", true).value(), kRootInode);
  for (const char* file : {"link/", "a/b/", "a/b/.", "a/b/.."}) {
    const auto found = ResolvePath(index, file, false);
    ASSERT_FALSE(found.has_value()) << file;
    EXPECT_EQ(found.error().system_errno, ENOTDIR) << file;
  }
  EXPECT_TRUE(ResolvePath(index, "a/", false).has_value());
  EXPECT_EQ(ResolvePath(index, "a/none", true).error().code, ErrorCode::kNotFound);
  EXPECT_NE(ResolvePath(index, "a/none/x", true).error().context.find("none"), std::string::npos);
  EXPECT_EQ(ResolvePath(index, "file/x", true).error().system_errno, ENOTDIR);
}

TEST(IndexTest, ALinkToItselfIsNoPath) {
  IndexWriter writer(IndexKind::kTree);
  Inode directory;
  directory.mode = 0040755;
  directory.nlink = 2;
  Inode link;
  link.mode = 0120777;
  link.nlink = 1;
  const InodeNumber root = writer.AddInode({.inode = directory});
  const InodeNumber loop = writer.AddInode({.inode = link, .target = "/loop"});
  writer.SetEntries(root, std::vector<Dirent>{{"loop", loop}});
  const Index index = Index::Open(std::move(writer).Finish({}, {}).value()).value();
  EXPECT_EQ(ResolvePath(index, "loop", true).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(ResolvePath(index, "loop", false).value(), loop);
}

TEST(IndexTest, AMappedFileIsReadLikeBytes) {
  const std::string path = ::testing::TempDir() + "index_test.idx";
  ASSERT_TRUE(WriteFileAtomically(path, SampleTree()).has_value());
  const auto index = Index::Open(MappedFile::Open(path).value());
  ASSERT_TRUE(index.has_value());
  WalkIndex(*index);
  index->DropResident();
  WalkIndex(*index);
  EXPECT_TRUE(std::ranges::equal(index->bytes(), SampleTree()));
}

TEST(IndexTest, UnknownIncompatFeaturesAreRefusedByNameAndCompatOnesIgnored) {
  Bytes bytes = SampleTree();
  bytes[offsetof(layout::Header, compat)] = 0x40;
  Reseal(bytes);
  EXPECT_TRUE(Index::Open(bytes).has_value());
  bytes[offsetof(layout::Header, incompat)] = 0x40;
  Reseal(bytes);
  const Error error = Index::Open(bytes).error();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_NE(error.context.find("0x40"), std::string::npos) << error.context;
}

TEST(IndexTest, AnotherVersionIsRefusedByName) {
  Bytes bytes = SampleTree();
  bytes[offsetof(layout::Header, version)] = 2;
  Reseal(bytes);
  const Error error = Index::Open(bytes).error();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_NE(error.context.find("version 2"), std::string::npos) << error.context;
}

// What a later writer may add: a section behind those that we know.
TEST(IndexTest, AnUnknownSectionIsPassedOver) {
  const Bytes old = SampleTree();
  layout::Header header;
  std::memcpy(&header, old.data(), sizeof header);
  const uint64_t table_end = sizeof header + layout::kSectionCount * sizeof(layout::SectionRecord);
  const uint64_t first = AlignUp(table_end, layout::kSectionAlignment);
  const uint64_t new_first =
      AlignUp(table_end + sizeof(layout::SectionRecord), layout::kSectionAlignment);
  Bytes table(old.begin() + sizeof header, old.begin() + static_cast<ptrdiff_t>(table_end));
  for (uint32_t i = 0; i < layout::kSectionCount; ++i) {
    auto record = layout::Load<layout::SectionRecord>(table, i);
    record.offset += new_first - first;
    std::memcpy(table.data() + i * sizeof record, &record, sizeof record);
  }
  const layout::SectionRecord added{1000, 1, old.size() + new_first - first, 3, 0};
  const ByteSpan added_bytes = layout::AsRecordBytes(added);
  table.insert(table.end(), added_bytes.begin(), added_bytes.end());
  header.compat = 1;
  ++header.section_count;
  header.file_size = added.offset + layout::kSectionAlignment;
  Bytes bytes(header.file_size);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::ranges::copy(table, bytes.begin() + sizeof header);
  std::copy(old.begin() + static_cast<ptrdiff_t>(first), old.end(),
            bytes.begin() + static_cast<ptrdiff_t>(new_first));
  std::memcpy(bytes.data() + added.offset, "new", 3);
  Reseal(bytes);
  const auto opened = Index::Open(std::move(bytes));
  ASSERT_TRUE(opened.has_value()) << opened.error().context;
  WalkIndex(*opened);
  EXPECT_EQ(opened->inode_count(), 15u);
}

}  // namespace
}  // namespace layerfs

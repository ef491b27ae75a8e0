// SPDX-License-Identifier: Apache-2.0
#include "index/index_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

Inode MakeInode(uint32_t mode) {
  Inode inode;
  inode.mode = mode;
  inode.nlink = 1;
  return inode;
}

InodeNumber AddRoot(IndexWriter& writer) {
  return writer.AddInode({.inode = MakeInode(S_IFDIR | 0755)});
}

ErrorCode FinishCode(IndexWriter& writer) {
  const auto bytes = std::move(writer).Finish({}, {});
  EXPECT_FALSE(bytes.has_value());
  return bytes.has_value() ? ErrorCode::kCancelled : bytes.error().code;
}

TEST(IndexWriterTest, TheSameInputGivesTheSameBytes) {
  EXPECT_EQ(SampleTree(), SampleTree());
  EXPECT_EQ(SampleLayer(), SampleLayer());
}

TEST(IndexWriterTest, NumbersAreHandedOutInOrderFromTheRoot) {
  IndexWriter writer(IndexKind::kTree);
  const InodeNumber root = AddRoot(writer);
  EXPECT_EQ(root, kRootInode);
  EXPECT_EQ(writer.AddInode({.inode = MakeInode(S_IFREG)}), InodeNumber{2});
  EXPECT_EQ(writer.AddInode({.inode = MakeInode(S_IFIFO)}), InodeNumber{3});
}

TEST(IndexWriterTest, EqualAttributeSetsAndTargetsAreStoredOnce) {
  const Bytes tree = SampleTree();
  EXPECT_EQ(SectionSize(tree, layout::SectionId::kXattrSets), sizeof(layout::SetRecord));

  const auto targets_of = [](std::string_view a, std::string_view b) {
    IndexWriter writer(IndexKind::kTree);
    const InodeNumber root = AddRoot(writer);
    const InodeNumber x = writer.AddInode({.inode = MakeInode(S_IFLNK | 0777), .target = a});
    const InodeNumber y = writer.AddInode({.inode = MakeInode(S_IFLNK | 0777), .target = b});
    writer.SetEntries(root, std::vector<Dirent>{{"x", x}, {"y", y}});
    const Bytes bytes = std::move(writer).Finish({}, {}).value();
    EXPECT_EQ(Index::Open(bytes)->Target(y), b);
    return SectionSize(bytes, layout::SectionId::kTargets);
  };
  EXPECT_EQ(targets_of("same", "same"), 4u);
  EXPECT_EQ(targets_of("same", "other"), 9u);
}

TEST(IndexWriterTest, NamesLieInTheOrderOfTheirEntries) {
  const Bytes tree = SampleTree();
  const ByteSpan names = ByteSpan(tree).subspan(SectionOffset(tree, layout::SectionId::kNames),
                                                SectionSize(tree, layout::SectionId::kNames));
  EXPECT_EQ(AsText(names),
            "abindevfilelinkna\xefve"
            "bemptyhole"
            "shsh2"
            "blockcharfifosock");
}

TEST(IndexWriterTest, AnEmptyTreeIsARoot) {
  IndexWriter writer(IndexKind::kTree);
  const InodeNumber root = AddRoot(writer);
  writer.SetEntries(root, {});
  const Index index = Index::Open(std::move(writer).Finish({}, {}).value()).value();
  EXPECT_EQ(index.inode_count(), 1u);
  EXPECT_EQ(index.Get(root).entry_count, 0u);
}

TEST(IndexWriterTest, WhatTheFormatCannotHoldIsTooLarge) {
  const std::string long_target(4096, 't');
  IndexWriter targets(IndexKind::kTree);
  AddRoot(targets);
  targets.AddInode({.inode = MakeInode(S_IFLNK | 0777), .target = long_target});
  EXPECT_EQ(FinishCode(targets), ErrorCode::kTooLarge);

  IndexWriter empty_target(IndexKind::kTree);
  AddRoot(empty_target);
  empty_target.AddInode({.inode = MakeInode(S_IFLNK | 0777)});
  EXPECT_EQ(FinishCode(empty_target), ErrorCode::kTooLarge);

  const std::string long_name(256, 'n');
  IndexWriter names(IndexKind::kTree);
  AddRoot(names);
  const InodeNumber file = names.AddInode({.inode = MakeInode(S_IFREG)});
  names.SetEntries(kRootInode, std::vector<Dirent>{{long_name, file}});
  EXPECT_EQ(FinishCode(names), ErrorCode::kTooLarge);

  const std::string long_value(65'537, 'v');
  IndexWriter xattrs(IndexKind::kTree);
  AddRoot(xattrs);
  xattrs.AddInode(
      {.inode = MakeInode(S_IFREG), .xattrs = std::vector<Xattr>{{"user.x", long_value}}});
  EXPECT_EQ(FinishCode(xattrs), ErrorCode::kTooLarge);

  IndexWriter layers(IndexKind::kTree);
  AddRoot(layers);
  const std::vector<LayerInfo> many(layout::kMaxLayers + 1);
  EXPECT_EQ(std::move(layers).Finish(many, {}).error().code, ErrorCode::kTooLarge);
}

TEST(IndexWriterTest, TheLongestOfEverythingIsTaken) {
  IndexWriter writer(IndexKind::kTree);
  const InodeNumber root = AddRoot(writer);
  const std::string name(255, 'n');
  const std::string target(4095, 't');
  const std::string xattr_name = "user." + std::string(250, 'x');
  const std::string value(65'536, 'v');
  const InodeNumber link = writer.AddInode({.inode = MakeInode(S_IFLNK | 0777),
                                            .target = target,
                                            .xattrs = std::vector<Xattr>{{xattr_name, value}}});
  writer.SetEntries(root, std::vector<Dirent>{{name, link}});
  const auto opened = Index::Open(std::move(writer).Finish({}, {}).value());
  ASSERT_TRUE(opened.has_value()) << opened.error().context;
  EXPECT_EQ(opened->Target(opened->Lookup(root, name)->inode), target);
  EXPECT_EQ(opened->FindXattr(link, xattr_name), value);
}

TEST(IndexWriterTest, AnUnresolvedLinksPathMayBeLongerThanASymlinks) {
  IndexWriter writer(IndexKind::kLayer);
  const InodeNumber root = AddRoot(writer);
  Inode link;
  link.unresolved_link = true;
  link.nlink = 1;
  const std::string path(65'535, 'p');
  const InodeNumber number = writer.AddInode({.inode = link, .target = path});
  writer.SetEntries(root, std::vector<Dirent>{{"link", number}});
  const LayerInfo layer;
  const auto opened = Index::Open(std::move(writer).Finish({&layer, 1}, {}).value());
  ASSERT_TRUE(opened.has_value()) << opened.error().context;
  EXPECT_EQ(opened->Target(number), path);
}

}  // namespace
}  // namespace layerfs

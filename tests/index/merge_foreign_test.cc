// SPDX-License-Identifier: Apache-2.0
// Layer indexes come from registries: one that is valid by its format may still say anything. What
// the merge makes of it is a valid tree or an error.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "index/index_writer.h"
#include "tests/index/index_reseal.h"
#include "tests/index/layer_stack.h"

namespace layerfs {
namespace {

Bytes Base() {
  return TarWriter()
      .Directory("d")
      .File("d/f", "1")
      .Symlink("l", "d")
      .Symlink("m", "../l/./")
      .HardLink("h", "d/f")
      .Finish();
}

Bytes Layer() {
  return TarWriter()
      .Add({.path = "d", .type = '5', .xattrs = {{"user.k", "v"}}})
      .File("d/.wh.f")
      .File("l/x/y", "2")
      .File("m/.wh..wh..opq")
      .HardLink("z", "h")
      .HardLink("d/w", "l/f")
      .SparsePax10("s", 2000, {{512, "ab"}})
      .Device("n", '3', 1, 3)
      .Finish();
}

// Nothing may be wrong with what comes out, and nothing may break on the way.
bool Merges(const Index& layer) {
  const Bytes tar = Base();
  TreeMerger merger;
  const auto base = BuildLayer(tar);
  EXPECT_TRUE(base.has_value());
  EXPECT_TRUE(merger.Apply(*base, BlobOf(tar)).has_value());
  if (!merger.Apply(layer, {.digest = {}, .size = INT64_MAX}).has_value()) return false;
  auto tree = std::move(merger).Finish();
  if (!tree.has_value()) return false;
  const auto opened = Index::Open(std::move(*tree));
  EXPECT_TRUE(opened.has_value()) << opened.error().context;
  return true;
}

TEST(MergeForeignTest, EveryBrokenByteIsRefusedOrHarmless) {
  const auto good = BuildLayerBytes(Layer());
  ASSERT_TRUE(good.has_value()) << good.error().context;
  int opened = 0;
  int merged = 0;
  for (size_t at = sizeof(layout::Header); at < good->size(); ++at) {
    for (const uint8_t flip : {0x01, 0x02, 0x40, 0xff}) {
      Bytes bad = *good;
      bad[at] ^= flip;
      ResealIndex(bad);
      const auto layer = Index::Open(std::move(bad));
      if (!layer.has_value()) continue;
      ++opened;
      SCOPED_TRACE("byte " + std::to_string(at));
      merged += Merges(*layer) ? 1 : 0;
    }
  }
  EXPECT_GT(merged, 100) << "The test breaks too much.";
  EXPECT_LT(merged, opened) << "The test breaks too little.";
}

TEST(MergeForeignTest, SegmentsOutsideTheBlobAreRefused) {
  const auto layer = BuildLayer(Layer());
  ASSERT_TRUE(layer.has_value()) << layer.error().context;
  const Status applied = TreeMerger().Apply(*layer, {.digest = {}, .size = kTarBlock - 1});
  ASSERT_FALSE(applied.has_value());
  EXPECT_EQ(applied.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(TreeMerger().Apply(*layer, {.digest = {}, .size = UINT64_MAX}).has_value());
}

Index Written(IndexWriter&& writer) {
  const LayerInfo info;
  return Index::Open(std::move(writer).Finish({&info, 1}, {}).value()).value();
}

TEST(MergeForeignTest, DepthOfALayerIsBounded) {
  IndexWriter writer(IndexKind::kLayer);
  InodeNumber directory = writer.AddInode({.inode = {.mode = 0040755}});
  for (int i = 0; i < 100'000; ++i) {
    const InodeNumber below = writer.AddInode({.inode = {.mode = 0040755}});
    const Dirent entry = {.name = "d", .inode = below};
    writer.SetEntries(directory, {&entry, 1});
    directory = below;
  }
  writer.SetEntries(directory, {});
  TreeMerger merger;
  const Status applied = merger.Apply(Written(std::move(writer)), {});
  ASSERT_FALSE(applied.has_value());
  EXPECT_EQ(applied.error().code, ErrorCode::kTooLarge);
}

// A thousand inodes that share their attributes are small in the layer's index, and must be so in
// the tree's.
TEST(MergeForeignTest, SharedXattrsCostNothingEach) {
  IndexWriter writer(IndexKind::kLayer);
  const std::string value(60'000, 'x');
  const Xattr xattr = {.name = "user.k", .value = value};
  const InodeNumber root = writer.AddInode({.inode = {.mode = 0040755}});
  std::vector<std::string> names;
  std::vector<Dirent> entries;
  for (int i = 0; i < 1000; ++i) names.push_back(std::to_string(10'000 + i));
  for (const std::string& name : names) {
    entries.push_back(
        {.name = name,
         .inode = writer.AddInode({.inode = {.mode = 0100644}, .xattrs = {&xattr, 1}})});
  }
  writer.SetEntries(root, entries);
  TreeMerger merger;
  ASSERT_TRUE(merger.Apply(Written(std::move(writer)), {}).has_value());
  const auto tree = std::move(merger).Finish();
  ASSERT_TRUE(tree.has_value());
  EXPECT_LT(tree->size(), 300'000U);
}

}  // namespace
}  // namespace layerfs

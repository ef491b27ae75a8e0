// SPDX-License-Identifier: Apache-2.0
#include "index/mutable_tree.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace layerfs {
namespace {

constexpr Inode kDirectory = {.mode = 0040755};
constexpr Inode kFile = {.mode = 0100644};

InodeNumber Add(MutableTree& tree, InodeNumber directory, std::string_view name,
                const Inode& inode) {
  const InodeNumber node = tree.AddNode({.inode = inode}).value();
  EXPECT_TRUE(tree.Put(directory, name, node).has_value());
  return node;
}

TEST(MutableTreeTest, ReplacedDirectoryDiesWithAllBelow) {
  MutableTree tree;
  const InodeNumber outer = Add(tree, kRootInode, "d", kDirectory);
  const InodeNumber inner = Add(tree, outer, "e", kDirectory);
  const InodeNumber file = Add(tree, inner, "f", kFile);
  Add(tree, kRootInode, "d", kFile);
  EXPECT_FALSE(tree.node(outer).alive());
  EXPECT_FALSE(tree.node(inner).alive());
  EXPECT_FALSE(tree.node(file).alive());
  EXPECT_EQ(tree.Find(outer, "e"), kNoEntry);
  EXPECT_EQ(tree.node(kRootInode).nlink(), 2U);
  EXPECT_EQ(tree.node_count(), 2U);
}

TEST(MutableTreeTest, FileNamedInPlaceOfItsOwnDirectoryLives) {
  MutableTree tree;
  const InodeNumber directory = Add(tree, kRootInode, "d", kDirectory);
  const InodeNumber file = Add(tree, directory, "f", kFile);
  ASSERT_TRUE(tree.Put(kRootInode, "d", file).has_value());
  EXPECT_TRUE(tree.node(file).alive());
  EXPECT_EQ(tree.node(file).nlink(), 1U);
  EXPECT_FALSE(tree.node(directory).alive());
}

TEST(MutableTreeTest, HeldFileOutlivesItsLastName) {
  MutableTree tree;
  const InodeNumber file = Add(tree, kRootInode, "f", kFile);
  tree.Hold(file);
  tree.Clear(kRootInode);
  EXPECT_TRUE(tree.node(file).alive());
  tree.Release(file);
  EXPECT_FALSE(tree.node(file).alive());
}

TEST(MutableTreeTest, NumbersAreUsedAgainAfterRecycleOnly) {
  MutableTree tree;
  const InodeNumber first = Add(tree, kRootInode, "a", kFile);
  tree.Clear(kRootInode);
  EXPECT_NE(Add(tree, kRootInode, "b", kFile), first);
  tree.Recycle();
  EXPECT_EQ(Add(tree, kRootInode, "c", kFile), first);
}

TEST(MutableTreeTest, EqualXattrSetsAreKeptOnce) {
  MutableTree tree;
  const Xattr forward[] = {{"user.a", "1"}, {"user.b", "2"}};
  const Xattr backward[] = {{"user.b", "2"}, {"user.a", "1"}};
  const Xattr shifted[] = {{"user.a", "1u"}, {"ser.b", "2"}};
  const InodeNumber a = tree.AddNode({.inode = kFile, .xattrs = forward}).value();
  const InodeNumber b = tree.AddNode({.inode = kFile, .xattrs = backward}).value();
  const InodeNumber c = tree.AddNode({.inode = kFile, .xattrs = shifted}).value();
  EXPECT_EQ(tree.node(a).xattr_set(), tree.node(b).xattr_set());
  EXPECT_NE(tree.node(a).xattr_set(), tree.node(c).xattr_set());
  EXPECT_EQ(tree.Xattrs(tree.node(b))[0].name, "user.a");
}

TEST(MutableTreeTest, XattrsThatNobodyHasDoNotCount) {
  MutableTree tree;
  std::string value(size_t{60} << 10, 'x');
  for (size_t i = 0; i < 2 * kMaxTreeXattrBytes / value.size(); ++i) {
    value.replace(0, 8, std::to_string(10'000'000 + i));
    const Xattr own[] = {{"user.own", value}};
    const auto node = tree.AddNode({.inode = kFile, .xattrs = own});
    ASSERT_TRUE(node.has_value()) << i << ": " << node.error().context;
    ASSERT_TRUE(tree.Put(kRootInode, "f", *node).has_value());
    EXPECT_EQ(tree.Xattrs(tree.node(*node))[0].value, value);
    tree.Recycle();
  }
  const Xattr next[] = {{"user.own", "root's"}};
  ASSERT_TRUE(tree.SetAttributes(kRootInode, {.inode = kDirectory, .xattrs = next}).has_value());
  ASSERT_TRUE(tree.SetAttributes(kRootInode, {.inode = kDirectory, .xattrs = next}).has_value());
  EXPECT_EQ(tree.Xattrs(tree.node(kRootInode))[0].value, "root's");
  const EntryId file = tree.Find(kRootInode, "f");
  EXPECT_EQ(tree.Xattrs(tree.node(tree.entry(file).node))[0].value, value);
}

TEST(MutableTreeTest, NamesAndTargetsThatAreGoneDoNotCount) {
  MutableTree tree;
  constexpr Inode kSymlink = {.mode = 0120777};
  const InodeNumber kept = tree.AddNode({.inode = kSymlink, .target = "kept/target"}).value();
  ASSERT_TRUE(tree.Put(kRootInode, "kept", kept).has_value());
  std::string name(255, 'n');
  for (size_t i = 0; i < 2 * kMaxTreeNameBytes / name.size(); ++i) {
    name.replace(0, 8, std::to_string(10'000'000 + i));
    const InodeNumber node = tree.AddNode({.inode = kSymlink, .target = name}).value();
    const auto entry = tree.Put(kRootInode, name, node);
    ASSERT_TRUE(entry.has_value()) << i << ": " << entry.error().context;
    ASSERT_TRUE(tree.Put(kRootInode, "last", node).has_value());
    tree.Remove(*entry);
    tree.Recycle();
  }
  EXPECT_EQ(tree.node(kept).target(), "kept/target");
  EXPECT_EQ(tree.entry(tree.Find(kRootInode, "kept")).node, kept);
  const InodeNumber last = tree.entry(tree.Find(kRootInode, "last")).node;
  EXPECT_EQ(tree.node(last).target(), name);
}

// Names come and go at random in two directories; a map says what must be there.
TEST(MutableTreeTest, FindsWhatAMapFinds) {
  MutableTree tree;
  std::mt19937 random(1);
  const InodeNumber directories[] = {kRootInode, Add(tree, kRootInode, "directory", kDirectory)};
  std::map<std::pair<InodeNumber, std::string>, InodeNumber> model;
  for (int step = 0; step < 50'000; ++step) {
    const InodeNumber directory = directories[random() % 2];
    const std::string name = "n" + std::to_string(random() % 3000);
    const EntryId id = tree.Find(directory, name);
    const auto known = model.find({directory, name});
    ASSERT_EQ(id != kNoEntry, known != model.end());
    if (id != kNoEntry) {
      ASSERT_EQ(tree.entry(id).node, known->second);
    }
    if (id != kNoEntry && random() % 3 == 0) {
      tree.Remove(id);
      model.erase(known);
    } else {
      model[{directory, name}] = Add(tree, directory, name, kFile);
    }
    if (step % 100 == 0) tree.Recycle();
  }
  EXPECT_EQ(tree.node(directories[0]).entry_count() + tree.node(directories[1]).entry_count(),
            model.size() + 1);
  EXPECT_EQ(tree.node_count(), model.size() + 2);
  EXPECT_LT(tree.number_limit(), 7000U) << "Dead numbers are not used again.";
}

}  // namespace
}  // namespace layerfs

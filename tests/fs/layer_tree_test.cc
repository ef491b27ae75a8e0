// SPDX-License-Identifier: Apache-2.0
#include "fs/layer_tree.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fs/directory_source.h"

namespace layerfs {
namespace {

// A plain layer over a directory with `lower/below`; `d` is a new directory in it, and `node` a new
// file in that.
class LayerTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    // user.* xattrs are not everywhere; the build tree's file system has them.
    std::string pattern = (std::filesystem::current_path() / "layer-tree-XXXXXX").string();
    at_ = mkdtemp(pattern.data());
    for (const char* name : {"/upper", "/work", "/lower"}) {
      std::filesystem::create_directory(at_ + name);
    }
    std::ofstream(at_ + "/lower/below") << "data";
    const std::vector<std::string> lowers{at_ + "/lower"};
    auto layer = ContainerLayer::OpenPlain(at_ + "/upper", at_ + "/work", lowers, {});
    ASSERT_TRUE(layer.has_value()) << layer.error().context;
    std::vector<std::unique_ptr<LowerSource>> sources;
    sources.push_back(OpenDirectorySource(lowers[0]).value());
    tree_ = LayerTree::Make(std::move(*layer), std::move(sources), {}).value();
    directory_ = Make(tree_->Find(kRootNode), "d", S_IFDIR | 0755);
    node_ = Make(directory_, "node", S_IFREG | 0644);
  }
  void TearDown() override {
    node_ = directory_ = nullptr;
    tree_ = nullptr;
    std::filesystem::remove_all(at_);
  }

  NodePtr Make(const NodePtr& parent, std::string_view name, mode_t mode) const {
    const auto made = tree_->Create({::getuid(), ::getgid()}, parent, name, {.mode = mode});
    EXPECT_TRUE(made.has_value()) << made.error().context;
    return made.has_value() ? made->node : nullptr;
  }
  // What a lookup finds: null for nothing.
  NodePtr At(const NodePtr& parent, std::string_view name) const {
    const auto child = tree_->Lookup(parent, name);
    EXPECT_TRUE(child.has_value()) << child.error().context;
    return child.has_value() && child->exists ? child->made : nullptr;
  }

  std::string at_;
  std::unique_ptr<LayerTree> tree_;
  NodePtr directory_;
  NodePtr node_;
};

// Each node that a lookup makes anew costs the calls that read marks and identity.
TEST_F(LayerTreeTest, KnownObjectIsNotLookedIntoAgain) {
  EXPECT_EQ(At(directory_, "node"), node_);
  EXPECT_EQ(At(tree_->Find(kRootNode), "d"), directory_);
}

TEST_F(LayerTreeTest, KnownObjectIsFoundWhereItWasMovedTo) {
  ASSERT_TRUE(tree_->Rename(directory_, "node", tree_->Find(kRootNode), "moved", 0).has_value());
  EXPECT_EQ(At(directory_, "node"), nullptr);
  EXPECT_EQ(At(tree_->Find(kRootNode), "moved"), node_);
}

TEST_F(LayerTreeTest, SecondNameLeadsToTheSameObject) {
  ASSERT_TRUE(tree_->Link(node_, directory_, "second").has_value());
  EXPECT_EQ(At(directory_, "second")->id, node_->id);
  ASSERT_TRUE(tree_->Unlink(directory_, "node").has_value());
  EXPECT_EQ(At(directory_, "node"), nullptr);
  ASSERT_NE(At(directory_, "second"), nullptr);
  EXPECT_EQ(At(directory_, "second")->generation, node_->generation);
}

// The number may be that of the one before; what tells them apart is not.
TEST_F(LayerTreeTest, RemovedObjectIsNotTakenForOneOfItsName) {
  const uint32_t before = node_->generation;
  ASSERT_TRUE(tree_->Unlink(directory_, "node").has_value());
  tree_->Forget(node_->id, 1);
  node_ = nullptr;
  const NodePtr next = Make(directory_, "node", S_IFREG | 0644);
  EXPECT_NE(next->generation, before);
  EXPECT_EQ(At(directory_, "node"), next);
}

TEST_F(LayerTreeTest, ForgottenObjectIsMadeAnew) {
  const NodeId id = node_->id;
  const uint32_t generation = node_->generation;
  tree_->Forget(id, 1);
  const NodePtr again = At(directory_, "node");
  EXPECT_NE(again, node_);
  EXPECT_EQ(again->id, id);
  EXPECT_EQ(again->generation, generation);
}

TEST_F(LayerTreeTest, CopiedUpObjectKeepsTheNumberOfTheOneBelow) {
  const NodePtr root = tree_->Find(kRootNode);
  const NodePtr below = tree_->Adopt(*tree_->Lookup(root, "below"));
  ASSERT_TRUE(tree_->EnsureUpper(below).has_value());
  EXPECT_TRUE(std::filesystem::exists(at_ + "/upper/below"));
  EXPECT_EQ(At(root, "below")->id, below->id);
}

}  // namespace
}  // namespace layerfs

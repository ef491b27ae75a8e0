// SPDX-License-Identifier: Apache-2.0
#include "index/tree_serializer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "index/index_writer.h"

namespace layerfs {
namespace {

// First all entries, then all inodes: by then the names are gone, so that a tree and its index are
// never both in memory as a whole.
class Serializer {
 public:
  Serializer(MutableTree& tree, IndexWriter& writer)
      : tree_(tree), writer_(writer), numbers_(tree.number_limit(), kNoInode) {}

  void Run() {
    tree_.FreeTable();
    Number(kRootInode);
    pending_.push_back(kRootInode);
    while (!pending_.empty()) {
      const InodeNumber directory = pending_.back();
      pending_.pop_back();
      AddChildren(directory);
    }
    std::vector<InodeNumber>().swap(numbers_);
    tree_.FreeEntries();
    writer_.ExpectInodes(nodes_.size());
    for (const InodeNumber node : nodes_) AddInode(tree_.node(node));
  }

 private:
  void AddChildren(InodeNumber directory) {
    children_.clear();
    for (EntryId id = tree_.node(directory).first_entry(); id != kNoEntry;
         id = tree_.entry(id).next) {
      const MutableTree::Entry& entry = tree_.entry(id);
      children_.push_back({.name = entry.name, .inode = entry.node});
    }
    std::ranges::sort(children_, {}, &Dirent::name);
    const size_t first_pending = pending_.size();
    for (Dirent& child : children_) {
      if (child.is_whiteout()) continue;
      if (tree_.IsDirectory(child.inode)) pending_.push_back(child.inode);
      child.inode = Number(child.inode);
    }
    std::reverse(pending_.begin() + static_cast<ptrdiff_t>(first_pending), pending_.end());
    writer_.SetEntries(numbers_[ToUint(directory)], children_);
  }

  // The node's inode number in the index; the first name gives it one.
  InodeNumber Number(InodeNumber node) {
    InodeNumber& number = numbers_[ToUint(node)];
    if (number != kNoInode) return number;
    nodes_.push_back(node);
    number = InodeNumber{static_cast<uint32_t>(nodes_.size())};
    return number;
  }

  void AddInode(const TreeNode& node) {
    writer_.AddInode({.inode = node.ToInode(),
                      .target = node.target(),
                      .xattrs = tree_.Xattrs(node),
                      .sparse = tree_.IsSparse(node),
                      .extents = tree_.Extents(node)});
  }

  MutableTree& tree_;
  IndexWriter& writer_;
  std::vector<InodeNumber> numbers_;  // by node
  std::vector<InodeNumber> nodes_;    // by number, from 1
  std::vector<InodeNumber> pending_;  // directories whose children have no numbers yet
  std::vector<Dirent> children_;
};

}  // namespace

Result<Bytes> SerializeTree(MutableTree&& tree, IndexKind kind, std::span<const LayerInfo> layers,
                            std::span<const SegmentRef> segments) {
  IndexWriter writer(kind);
  {
    MutableTree used_up = std::move(tree);
    Serializer(used_up, writer).Run();
  }
  return std::move(writer).Finish(layers, segments);
}

}  // namespace layerfs

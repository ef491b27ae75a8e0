// SPDX-License-Identifier: Apache-2.0
#include "index/tree_serializer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "index/index_writer.h"

namespace layerfs {
namespace {

class Serializer {
 public:
  Serializer(const MutableTree& tree, IndexWriter& writer)
      : tree_(tree), writer_(writer), numbers_(tree.number_limit(), kNoInode) {}

  void Run() {
    Number(kRootInode);
    pending_.push_back(kRootInode);
    while (!pending_.empty()) {
      const InodeNumber directory = pending_.back();
      pending_.pop_back();
      AddChildren(directory);
    }
  }

 private:
  void AddChildren(InodeNumber directory) {
    children_.clear();
    for (EntryId id = tree_.node(directory).first_entry; id != kNoEntry;
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
    const MutableTree::Node& from = tree_.node(node);
    number = writer_.AddInode({.inode = from.inode,
                               .target = from.target,
                               .xattrs = tree_.Xattrs(from),
                               .sparse = tree_.IsSparse(from),
                               .extents = tree_.Extents(from)});
    return number;
  }

  const MutableTree& tree_;
  IndexWriter& writer_;
  std::vector<InodeNumber> numbers_;  // by node
  std::vector<InodeNumber> pending_;  // directories whose children have no numbers yet
  std::vector<Dirent> children_;
};

}  // namespace

Result<Bytes> SerializeTree(MutableTree&& tree, IndexKind kind, std::span<const LayerInfo> layers,
                            std::span<const SegmentRef> segments) {
  IndexWriter writer(kind);
  {
    const MutableTree used_up = std::move(tree);
    Serializer(used_up, writer).Run();
  }
  return std::move(writer).Finish(layers, segments);
}

}  // namespace layerfs

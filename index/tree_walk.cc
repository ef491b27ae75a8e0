// SPDX-License-Identifier: Apache-2.0
#include "index/tree_walk.h"

#include "index/path.h"

namespace layerfs {
namespace {

// Bounds on one walk, so that a hostile archive cannot buy much work with few bytes. The kernel
// stops at 40 links and containerd at 255; the steps allow the deepest path and some symlinks.
constexpr int kMaxLinks = 255;
constexpr int kMaxSteps = 4 * int{kMaxTreeDepth};

class Walk {
 public:
  Walk(const MutableTree& tree, InodeNumber from) : tree_(tree) { at_.directory = from; }

  // Puts the components of `path` before what is still to be walked.
  void Follow(std::string_view path) {
    if (path.starts_with('/')) at_.directory = kRootInode;
    while (!path.empty()) {
      const size_t slash = path.rfind('/');
      const size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
      pending_.push_back(path.substr(begin));
      path = path.substr(0, begin == 0 ? 0 : slash);
    }
  }

  Result<WalkedDirectory> Run() {
    for (int steps = 0; !pending_.empty(); ++steps) {
      if (steps > kMaxSteps) return Fail(ErrorCode::kTooLarge, "a path has too many components");
      const std::string_view component = pending_.back();
      pending_.pop_back();
      LAYERFS_CHECK_OK(Step(component));
    }
    return std::move(at_);
  }

 private:
  Status Step(std::string_view component) {
    if (component.empty() || component == ".") return {};
    if (component == "..") {
      Up();
      return {};
    }
    if (component.size() > kMaxNameBytes) {
      return Fail(ErrorCode::kCorrupt, "a symlink leads to a name that is too long");
    }
    const EntryId id = at_.missing.empty() ? tree_.Find(at_.directory, component) : kNoEntry;
    if (id == kNoEntry || tree_.entry(id).node == kNoInode) {
      at_.missing.push_back(component);
      return {};
    }
    return Enter(id);
  }

  void Up() {
    if (!at_.missing.empty()) {
      at_.missing.pop_back();
    } else if (at_.directory != kRootInode) {
      at_.directory = tree_.node(at_.directory).inode.parent;
    }
  }

  Status Enter(EntryId id) {
    const MutableTree::Node& node = tree_.node(tree_.entry(id).node);
    if (node.inode.is_directory()) {
      at_.directory = tree_.entry(id).node;
      return {};
    }
    if (!node.inode.is_symlink()) {
      return Fail(ErrorCode::kCorrupt, PathOfEntry(id) + " is not a directory");
    }
    if (++links_ > kMaxLinks) {
      return Fail(ErrorCode::kCorrupt, "symlinks go in circles at " + PathOfEntry(id));
    }
    Follow(node.target);
    return {};
  }

  std::string PathOfEntry(EntryId id) const {
    const MutableTree::Entry& entry = tree_.entry(id);
    const std::string parent = tree_.PathOf(entry.directory);
    return Quoted(parent.empty() ? std::string(entry.name)
                                 : parent + "/" + std::string(entry.name));
  }

  const MutableTree& tree_;
  WalkedDirectory at_;
  std::vector<std::string_view> pending_;  // the next component is the last
  int links_ = 0;
};

}  // namespace

Result<WalkedDirectory> WalkToDirectory(const MutableTree& tree,
                                        std::span<const std::string_view> components) {
  Walk walk(tree, kRootInode);
  for (size_t i = components.size(); i-- > 0;) walk.Follow(components[i]);
  return walk.Run();
}

Result<WalkedDirectory> WalkSymlink(const MutableTree& tree, EntryId id) {
  const MutableTree::Entry& entry = tree.entry(id);
  Walk walk(tree, entry.directory);
  walk.Follow(tree.node(entry.node).target);
  return walk.Run();
}

Result<EntryId> FindLinkTarget(const MutableTree& tree,
                               std::span<const std::string_view> components) {
  if (components.empty()) return kNoEntry;
  LAYERFS_TRY(parent, WalkToDirectory(tree, components.first(components.size() - 1)));
  if (!parent.missing.empty()) return kNoEntry;
  const EntryId id = tree.Find(parent.directory, components.back());
  return id == kNoEntry || tree.entry(id).node == kNoInode ? kNoEntry : id;
}

}  // namespace layerfs

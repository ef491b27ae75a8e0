// SPDX-License-Identifier: Apache-2.0
#include "index/tree_walk.h"

#include "index/path.h"

namespace layerfs {
namespace {

// Bounds on a walk and on all of a walker's, so that a hostile archive cannot buy much work with
// few bytes. The kernel stops at 40 links and containerd at 255; the steps allow the deepest path
// and some symlinks, and sixteen for each of the most nodes that a tree may have.
constexpr int kMaxLinks = 255;
constexpr uint64_t kMaxSteps = 4 * uint64_t{kMaxTreeDepth};
constexpr uint64_t kMaxStepsOfAll = 16 * uint64_t{kMaxTreeNodes};

class Walk {
 public:
  Walk(const MutableTree& tree, InodeNumber from, uint64_t* steps_of_all)
      : tree_(tree), steps_of_all_(*steps_of_all) {
    at_.directory = from;
  }

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
    for (uint64_t steps = 0; !pending_.empty(); ++steps) {
      if (steps > kMaxSteps || ++steps_of_all_ > kMaxStepsOfAll) {
        return Fail(ErrorCode::kTooLarge, "paths and symlinks with too many components");
      }
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
      at_.directory = tree_.node(at_.directory).parent();
    }
  }

  Status Enter(EntryId id) {
    const TreeNode& node = tree_.node(tree_.entry(id).node);
    if (node.is_directory()) {
      at_.directory = tree_.entry(id).node;
      return {};
    }
    if (!node.is_symlink()) {
      return Fail(ErrorCode::kCorrupt, PathOfEntry(id) + " is not a directory");
    }
    if (++links_ > kMaxLinks) {
      return Fail(ErrorCode::kCorrupt, "symlinks go in circles at " + PathOfEntry(id));
    }
    Follow(node.target());
    return {};
  }

  std::string PathOfEntry(EntryId id) const {
    const MutableTree::Entry& entry = tree_.entry(id);
    const std::string parent = tree_.PathOf(entry.directory);
    return Quoted(parent.empty() ? std::string(entry.name)
                                 : parent + "/" + std::string(entry.name));
  }

  const MutableTree& tree_;
  uint64_t& steps_of_all_;
  WalkedDirectory at_;
  std::vector<std::string_view> pending_;  // the next component is the last
  int links_ = 0;
};

}  // namespace

Result<WalkedDirectory> TreeWalker::ToDirectory(std::span<const std::string_view> components) {
  Walk walk(tree_, kRootInode, &steps_);
  for (size_t i = components.size(); i-- > 0;) walk.Follow(components[i]);
  return walk.Run();
}

Result<WalkedDirectory> TreeWalker::ThroughSymlink(EntryId id) {
  const MutableTree::Entry& entry = tree_.entry(id);
  Walk walk(tree_, entry.directory, &steps_);
  walk.Follow(tree_.node(entry.node).target());
  return walk.Run();
}

Result<EntryId> TreeWalker::FindLinkTarget(std::span<const std::string_view> components) {
  if (components.empty()) return kNoEntry;
  LAYERFS_TRY(parent, ToDirectory(components.first(components.size() - 1)));
  if (!parent.missing.empty()) return kNoEntry;
  const EntryId id = tree_.Find(parent.directory, components.back());
  return id == kNoEntry || tree_.entry(id).node == kNoInode ? kNoEntry : id;
}

}  // namespace layerfs

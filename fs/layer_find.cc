// SPDX-License-Identifier: Apache-2.0
// LayerTree: an inode that the kernel has forgotten, found again by its number.
#include <algorithm>
#include <mutex>
#include <utility>

#include "fs/layer_tree.h"

namespace layerfs {

// The object at `path`, if it has that id. Its parents stay known as long as it is.
NodePtr LayerTree::AdoptAt(std::string_view path, NodeId id) const {
  const std::shared_lock guard(lock_);
  NodePtr at = nodes_->Find(kRootNode);
  std::vector<NodeId> passed;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (name.empty()) continue;
    const auto child = Lookup(at, name);
    if (!child.has_value() || !child->exists) {
      at = nullptr;
      break;
    }
    at = Adopt(*child);
    passed.push_back(at->id);
  }
  const bool found = at != nullptr && at->id == id && !passed.empty();
  if (found) passed.pop_back();
  for (const NodeId parent : passed) nodes_->Forget(parent, 1);
  return found ? at : nullptr;
}

// The object in `directory` that has that id; where there is none, the directories in it are put
// into `found`, known each once more.
NodePtr LayerTree::AdoptInside(const NodePtr& directory, NodeId id,
                               std::vector<NodePtr>& found) const {
  const std::shared_lock guard(lock_);
  std::vector<std::string> names;
  // What cannot be listed hides what is in it, from whoever looks for it by name too.
  static_cast<void>(List(*directory, Listing::kExact, [&](const ListedEntry& entry) {
    const bool is_it = IdOf(entry.st_ino) == id;
    if (is_it) names.clear();
    if (is_it || S_ISDIR(entry.type)) names.emplace_back(entry.name);
    return !is_it;
  }));
  for (const std::string& name : names) {
    const auto child = Lookup(directory, name);
    if (!child.has_value() || !child->exists) continue;
    const NodePtr& made = child->made;
    if (made->id == id) return Adopt(*child);
    // What has a number of the upper directory's is only in directories that are there.
    const bool may_hold = made->has_upper || !image_below() || id < kUpperInodeBase;
    if (made->is_directory() && may_hold) found.push_back(Adopt(*child));
  }
  return nullptr;
}

NodePtr LayerTree::FindAgain(NodeId id) const {
  if (image_below() && id < kUpperInodeBase) {
    const auto path = sources_[0]->PathOfNumber(id);
    NodePtr node = path.has_value() ? AdoptAt(*path, id) : nullptr;
    if (node != nullptr) return node;
  }
  // It is new, or has been moved, or a directory above it has: all are looked through, each
  // directory with the lock for itself.
  std::vector<NodePtr> directories{nodes_->Find(kRootNode)};
  NodePtr node;
  while (node == nullptr && !directories.empty()) {
    const NodePtr directory = std::exchange(directories.back(), nullptr);
    directories.pop_back();
    node = AdoptInside(directory, id, directories);
    nodes_->Forget(directory->id, 1);
  }
  for (const NodePtr& directory : directories) nodes_->Forget(directory->id, 1);
  return node;
}

}  // namespace layerfs

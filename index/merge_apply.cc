// SPDX-License-Identifier: Apache-2.0
#include "index/merge_apply.h"

#include <utility>

namespace layerfs {
namespace {

constexpr Inode kImplicitDirectory = {.mode = 0040755};

}  // namespace

ImportedInode::ImportedInode(const Index& index, InodeNumber number) {
  node.inode = index.Get(number);
  node.target = index.Target(number);
  if (index.HasXattrs(number)) xattrs = index.Xattrs(number);
  node.xattrs = xattrs;
  node.sparse = node.inode.is_regular() && index.IsSparse(number);
  if (node.sparse) extents = index.DataExtents(number, 0, node.inode.size);
  node.extents = extents;
}

LayerApplier::LayerApplier(MutableTree& tree, const Index& layer, LayerNumber first_layer)
    : tree_(tree),
      layer_(layer),
      first_layer_(first_layer),
      walker_(tree),
      links_(tree, layer, walker_),
      nodes_(size_t{layer.inode_count()} + 1, kNoInode) {}

Status LayerApplier::Run() {
  LAYERFS_CHECK_OK(links_.LookBefore());
  if (HasWhiteouts()) {
    LAYERFS_CHECK_OK(FindRemovals());
    for (const Removal& removal : removals_) Remove(removal);
  }
  if (!layer_.Get(kRootInode).implicit) {
    ImportedInode root(layer_, kRootInode);
    root.node.inode.opaque = false;
    LAYERFS_CHECK_OK(tree_.SetAttributes(kRootInode, root.node));
  }
  pending_.push_back({.from = kRootInode, .onto = kRootInode});
  LAYERFS_CHECK_OK(ApplyPending());
  // One that is followed may meet another symlink and add to the list.
  for (size_t i = 0; i < followed_.size(); ++i) {
    LAYERFS_CHECK_OK(ApplyThroughSymlink(followed_[i]));
    LAYERFS_CHECK_OK(ApplyPending());
  }
  LAYERFS_CHECK_OK(links_.Resolve());
  tree_.Recycle();
  return {};
}

bool LayerApplier::HasWhiteouts() const {
  for (uint32_t i = 1; i <= layer_.inode_count(); ++i) {
    const InodeNumber number{i};
    const Inode inode = layer_.Get(number);
    if (!inode.is_directory()) continue;
    if (inode.opaque) return true;
    for (uint32_t position = 0; position < inode.entry_count; ++position) {
      if (layer_.EntryAt(number, position).is_whiteout()) return true;
    }
  }
  return false;
}

// All are found before the first is done, so that none changes where a symlink leads another.
Status LayerApplier::FindRemovals() {
  pending_.push_back({.from = kRootInode, .onto = kRootInode});
  while (!pending_.empty()) {
    const Pair pair = pending_.back();
    pending_.pop_back();
    if (layer_.Get(pair.from).opaque) {
      removals_.push_back({.directory = pair.onto, .name = {}});
    } else {
      LAYERFS_CHECK_OK(FindRemovalsIn(pair));
    }
  }
  return {};
}

Status LayerApplier::FindRemovalsIn(const Pair& pair) {
  const uint32_t count = layer_.Get(pair.from).entry_count;
  for (uint32_t position = 0; position < count; ++position) {
    const Dirent from = layer_.EntryAt(pair.from, position);
    if (from.is_whiteout()) {
      removals_.push_back({.directory = pair.onto, .name = from.name});
      continue;
    }
    const Inode inode = layer_.Get(from.inode);
    if (!inode.is_directory()) continue;
    const EntryId id = tree_.Find(pair.onto, from.name);
    if (id == kNoEntry) continue;
    const InodeNumber below = tree_.entry(id).node;
    if (tree_.IsDirectory(below)) {
      pending_.push_back({.from = from.inode, .onto = below});
    } else if (inode.implicit && tree_.node(below).is_symlink()) {
      LAYERFS_TRY(walked, Follow(id));
      if (!walked.has_value() || !walked->missing.empty()) continue;  // Nothing is there.
      pending_.push_back({.from = from.inode, .onto = walked->directory});
    }
  }
  return {};
}

Result<std::optional<WalkedDirectory>> LayerApplier::Follow(EntryId symlink) {
  Result<WalkedDirectory> walked = walker_.ThroughSymlink(symlink);
  if (walked.has_value()) return std::move(*walked);
  if (walked.error().code == ErrorCode::kTooLarge) return Fail(std::move(walked).error());
  return std::nullopt;
}

// The directory may be gone already, with another removal; nothing is found in it then.
void LayerApplier::Remove(const Removal& removal) {
  if (removal.name.empty()) {
    tree_.Clear(removal.directory);
  } else if (const EntryId id = tree_.Find(removal.directory, removal.name); id != kNoEntry) {
    tree_.Remove(id);
  }
}

Status LayerApplier::ApplyPending() {
  while (!pending_.empty()) {
    const Pair pair = pending_.back();
    pending_.pop_back();
    LAYERFS_CHECK_OK(ApplyDirectory(pair));
  }
  return {};
}

Status LayerApplier::ApplyDirectory(const Pair& pair) {
  const uint32_t count = layer_.Get(pair.from).entry_count;
  for (uint32_t position = 0; position < count; ++position) {
    const Dirent from = layer_.EntryAt(pair.from, position);
    if (from.is_whiteout()) continue;
    if (layer_.Get(from.inode).is_directory()) {
      LAYERFS_CHECK_OK(ApplySubdirectory(from, pair.onto));
    } else {
      LAYERFS_CHECK_OK(ApplyFile(from, pair.onto));
    }
  }
  return {};
}

Status LayerApplier::ApplyFile(const Dirent& from, InodeNumber directory) {
  LAYERFS_TRY(node, NodeFor(from.inode));
  LAYERFS_TRY(id, tree_.Put(directory, from.name, node));
  if (tree_.node(node).unresolved_link()) links_.AddName(id, from.inode, node);
  return {};
}

Status LayerApplier::ApplySubdirectory(const Dirent& from, InodeNumber directory) {
  const bool implicit = layer_.Get(from.inode).implicit;
  const EntryId id = tree_.Find(directory, from.name);
  const InodeNumber below = id == kNoEntry ? kNoInode : tree_.entry(id).node;
  if (below != kNoInode && implicit && tree_.node(below).is_symlink()) {
    followed_.push_back({.from = from.inode, .directory = directory, .name = from.name});
    return {};
  }
  if (below != kNoInode && tree_.IsDirectory(below)) {
    if (!implicit) {
      ImportedInode attributes(layer_, from.inode);
      attributes.node.inode.opaque = false;
      LAYERFS_CHECK_OK(tree_.SetAttributes(below, attributes.node));
    }
    pending_.push_back({.from = from.inode, .onto = below});
    return {};
  }
  LAYERFS_TRY(node, NodeFor(from.inode));
  LAYERFS_TRY(added, tree_.Put(directory, from.name, node));
  static_cast<void>(added);
  pending_.push_back({.from = from.inode, .onto = node});
  return {};
}

Status LayerApplier::ApplyThroughSymlink(const Followed& followed) {
  const EntryId id = tree_.Find(followed.directory, followed.name);
  if (id == kNoEntry) return {};  // Its directory went, by another name of it in this layer.
  InodeNumber onto = tree_.entry(id).node;
  if (tree_.node(onto).is_symlink()) {
    LAYERFS_TRY(walked, Follow(id));
    if (walked.has_value()) {
      LAYERFS_TRY(made, MakeDirectories(walked->directory, walked->missing));
      onto = made;
    }
  }
  if (!tree_.IsDirectory(onto)) {
    const std::string_view name = followed.name;
    tree_.Remove(id);
    LAYERFS_TRY(made, MakeDirectories(followed.directory, {&name, 1}));
    onto = made;
  }
  pending_.push_back({.from = followed.from, .onto = onto});
  return {};
}

Result<InodeNumber> LayerApplier::MakeDirectories(InodeNumber directory,
                                                  std::span<const std::string_view> names) {
  for (const std::string_view name : names) {
    LAYERFS_TRY(made, tree_.AddNode({.inode = kImplicitDirectory}));
    LAYERFS_TRY(id, tree_.Put(directory, name, made));
    static_cast<void>(id);
    directory = made;
  }
  return directory;
}

Result<InodeNumber> LayerApplier::NodeFor(InodeNumber inode) {
  InodeNumber& node = nodes_[ToUint(inode)];
  if (node != kNoInode && tree_.node(node).alive()) return node;
  ImportedInode imported(layer_, inode);
  Inode& attributes = imported.node.inode;
  attributes.implicit = false;
  attributes.opaque = false;
  if (attributes.is_regular()) {
    attributes.layer = LayerNumber(ToUint(attributes.layer) + ToUint(first_layer_));
  }
  LAYERFS_TRY(made, tree_.AddNode(imported.node));
  node = made;
  return node;
}

}  // namespace layerfs

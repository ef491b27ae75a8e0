// SPDX-License-Identifier: Apache-2.0
// LayerApplier: lays one layer index on a tree in memory. The rules are OCI image-spec layer.md's
// ("Applying Changesets"); where it is silent, containerd's (pkg/archive), as far as one order of
// application can be told from a layer index, which has none:
//   1. Whiteouts and opaque marks act first, on what the lower layers left.
//   2. Then the entries are laid on top, a directory that the layer lists or implies over one that
//      is there, anything else in place of what is there.
//   3. A directory that the layer only implies, over a symlink: the symlink is followed inside the
//      root and the entries go where it leads, after all others. Where it cannot be followed, and
//      over anything else that is no directory, the directory takes its place: containerd's plain
//      extraction refuses such a layer, its overlayfs and Docker's show it so.
//   4. Hard links into lower layers are resolved at the end, see merge_links.h.
// One thread at a time.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "index/base/error.h"
#include "index/index.h"
#include "index/merge_links.h"
#include "index/mutable_tree.h"
#include "index/tree_walk.h"

namespace layerfs {

class LayerApplier {
 public:
  // `first_layer` is the number in the tree of the layer's own layer 0.
  LayerApplier(MutableTree& tree, const Index& layer, LayerNumber first_layer);

  // Once. After an error the tree is in no useful state.
  Status Run();

 private:
  // A directory of the layer and the tree's directory that it is laid on.
  struct Pair {
    InodeNumber from;
    InodeNumber onto;
  };
  // A directory of the layer and the name of the tree's symlink that it is laid on.
  struct Followed {
    InodeNumber from;
    InodeNumber directory;
    std::string_view name;
  };
  struct Removal {
    InodeNumber directory;
    std::string_view name;  // empty: all
  };

  bool HasWhiteouts() const;
  Status FindRemovals();
  Status FindRemovalsIn(const Pair& pair);
  void Remove(const Removal& removal);

  // Where a symlink leads; nothing where it cannot be followed.
  Result<std::optional<WalkedDirectory>> Follow(EntryId symlink);
  Status ApplyPending();
  Status ApplyDirectory(const Pair& pair);
  Status ApplyFile(const Dirent& from, InodeNumber directory);
  Status ApplySubdirectory(const Dirent& from, InodeNumber directory);
  Status ApplyThroughSymlink(const Followed& followed);
  Result<InodeNumber> MakeDirectories(InodeNumber directory,
                                      std::span<const std::string_view> names);
  // The layer's inode as a node of the tree; the same for all its names.
  Result<InodeNumber> NodeFor(InodeNumber inode);

  MutableTree& tree_;
  const Index& layer_;
  const LayerNumber first_layer_;
  TreeWalker walker_;
  LinkResolver links_;
  std::vector<InodeNumber> nodes_;  // by inode of the layer
  std::vector<Pair> pending_;
  std::vector<Followed> followed_;
  std::vector<Removal> removals_;
};

// An inode of an index as the tree takes it. The views of `node` are into `index` and the other
// members.
struct ImportedInode {
  ImportedInode(const Index& index, InodeNumber number);
  MutableTree::NewNode node;
  std::vector<Xattr> xattrs;
  std::vector<DataExtent> extents;
};

}  // namespace layerfs

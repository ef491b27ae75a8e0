// SPDX-License-Identifier: Apache-2.0
// LinkResolver: the hard links of a layer whose targets the layer does not hold, resolved against
// the tree that it is laid on. An extractor would take the target as it is when its turn comes. The
// layer index knows no turns, but this much can be told:
//   - Where the layer itself puts something at the target's path or in place of one of its parents,
//     it came later than the link (else the builder would have found it): the lower layers' file is
//     meant.
//   - Otherwise what is there at the end is meant (a file that the layer put there by way of a
//     symlink of a lower layer), or, where the layer whites it out, what was there before.
// One thread at a time.
#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "index/base/error.h"
#include "index/index.h"
#include "index/mutable_tree.h"
#include "index/tree_walk.h"

namespace layerfs {

class LinkResolver {
 public:
  LinkResolver(MutableTree& tree, const Index& layer, TreeWalker& walker)
      : tree_(tree), layer_(layer), walker_(walker) {}

  // Looks the targets up before the layer is applied, and keeps what is found alive.
  Status LookBefore();
  // `id` names `placeholder`, which stands for the unresolved link `inode` of the layer.
  void AddName(EntryId id, InodeNumber inode, InodeNumber placeholder);
  // Puts the targets in the place of their placeholders. kCorrupt, naming link and target, where
  // there is no target or it is a directory.
  Status Resolve();

 private:
  struct Link {
    InodeNumber inode = kNoInode;        // in the layer
    InodeNumber before = kNoInode;       // what the target was, held; kNoInode: no file
    InodeNumber placeholder = kNoInode;  // kNoInode: applied nowhere
    InodeNumber target = kNoInode;       // once resolved
    bool visited = false;
  };
  struct Name {
    EntryId id;
    size_t link;
  };

  bool LayerReplaces(std::string_view target) const;
  // kNoInode where nothing is there; fails only where looking takes too long.
  Result<InodeNumber> Find(std::string_view target);
  Status ResolveFrom(size_t first);
  Result<InodeNumber> Choose(const Link& link);
  Error NotFound(const Link& link, std::string_view why) const;

  MutableTree& tree_;
  const Index& layer_;
  TreeWalker& walker_;
  std::vector<Link> links_;
  std::unordered_map<InodeNumber, size_t> by_inode_;        // of the layer
  std::unordered_map<InodeNumber, size_t> by_placeholder_;  // of the tree
  std::vector<Name> names_;
};

}  // namespace layerfs

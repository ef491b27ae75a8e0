// SPDX-License-Identifier: Apache-2.0
// TreeWalker: walks paths through a MutableTree as an extractor confined to the root would:
// symlinks are followed, and neither they nor ".." lead out of the root. One thread at a time.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/error.h"
#include "index/mutable_tree.h"

namespace layerfs {

// How far a path leads: an existing directory and the names that do not exist below it. The names
// are views into the path or the tree.
struct WalkedDirectory {
  InodeNumber directory = kRootInode;
  std::vector<std::string_view> missing;
};

class TreeWalker {
 public:
  // The tree may change between calls.
  explicit TreeWalker(const MutableTree& tree) : tree_(tree) {}

  // Follows every symlink, also a last one. A component that does not exist (or is a whiteout)
  // counts as a directory that is still to be made, as containerd's RootPath has it: "gone/../etc"
  // is "etc". kCorrupt: something in the way is not a directory, or links go in circles; kTooLarge:
  // the walks of this walker take longer than any real archive's.
  Result<WalkedDirectory> ToDirectory(std::span<const std::string_view> components);

  // Where the symlink behind `id` leads.
  Result<WalkedDirectory> ThroughSymlink(EntryId id);

  // What a hard link to `components` names: parents are followed, the last is not. kNoEntry where
  // there is nothing, or a whiteout.
  Result<EntryId> FindLinkTarget(std::span<const std::string_view> components);

 private:
  const MutableTree& tree_;
  uint64_t steps_ = 0;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The merge: layer indexes, lowest first → the tree of the whole image, by the rules of OCI
// image-spec layer.md ("Applying Changesets") and, where it is silent, of containerd.
// TreeMerger: one thread at a time.
#pragma once

#include <memory>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

class TreeMerger {
 public:
  TreeMerger();  // an empty tree: a root directory 0755, owned by root
  // Goes on from a tree (kind kTree).
  static Result<TreeMerger> From(const Index& tree);
  TreeMerger(TreeMerger&&) noexcept;
  TreeMerger& operator=(TreeMerger&&) noexcept;
  ~TreeMerger();

  // The blob that holds the layer, as the image's manifest names it.
  struct LayerBlob {
    Digest digest;
    uint64_t size = 0;
  };
  // Lays `layer` (kind kLayer) on top. Costs time by the layer's entries, not the tree's, so that
  // 127 layers merge as fast as three of the same total. Nothing of `layer` is referred to
  // afterwards. A hard link whose target is nowhere is kCorrupt, naming both paths.
  Status Apply(const Index& layer, const LayerBlob& blob);

  // The tree (kind kTree); deterministic. Numbered so that a directory's children are near.
  Result<Bytes> Finish() &&;

 private:
  class Impl;
  explicit TreeMerger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// merge(tree, layer index) → tree, as one function from index to index.
Result<Bytes> Merge(const Index& tree, const Index& layer, const TreeMerger::LayerBlob& blob);

}  // namespace layerfs

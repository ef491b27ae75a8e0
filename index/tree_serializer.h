// SPDX-License-Identifier: Apache-2.0
// MutableTree → the bytes of an index. Deterministic: what the tree went through leaves no trace.
// Thread-safe.
#pragma once

#include <span>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"
#include "index/mutable_tree.h"

namespace layerfs {

// Numbers the inodes anew: a directory before its children, its children next to each other in the
// order of their names, whole directories depth first. So a directory that is listed and stat'ed
// touches neighbouring records, and so do neighbours in the tree. The tree is used up: its memory
// is free before the index is put together.
Result<Bytes> SerializeTree(MutableTree&& tree, IndexKind kind, std::span<const LayerInfo> layers,
                            std::span<const SegmentRef> segments);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/tree_node.h"

namespace layerfs {

TreeNode::TreeNode(const Inode& from, std::string_view target, uint32_t xattr_set,
                   uint32_t extent_list)
    : mtime_seconds_(from.mtime.seconds),
      mtime_nanoseconds_(from.mtime.nanoseconds),
      uid_(from.uid),
      gid_(from.gid),
      nlink_(from.nlink),
      xattr_set_(xattr_set),
      mode_(static_cast<uint16_t>(from.mode)),
      layer_(ToUint(from.layer)),
      implicit_(from.implicit),
      opaque_(from.opaque),
      unresolved_link_(from.unresolved_link),
      alive_(true) {
  if (has_target()) {
    link_ = {.target = target.data(), .size = target.size()};
  } else if (is_regular()) {
    file_ = {.size = from.size, .data_offset = from.data_offset};
    extents_or_depth_ = extent_list;
  } else if (is_device()) {
    rdev_ = from.rdev;
  }
}

Inode TreeNode::ToInode() const {
  Inode inode;
  inode.mode = mode_;
  inode.uid = uid_;
  inode.gid = gid_;
  inode.nlink = nlink_;
  inode.mtime = {.seconds = mtime_seconds_, .nanoseconds = mtime_nanoseconds_};
  inode.layer = LayerNumber{layer_};
  inode.implicit = implicit_;
  inode.opaque = opaque_;
  inode.unresolved_link = unresolved_link_;
  if (has_target()) {
    inode.size = link_.size;
  } else if (is_directory()) {
    inode.parent = directory_.parent;
    inode.entry_count = directory_.entry_count;
  } else if (is_regular()) {
    inode.size = file_.size;
    inode.data_offset = file_.data_offset;
  } else if (is_device()) {
    inode.rdev = rdev_;
  }
  return inode;
}

}  // namespace layerfs

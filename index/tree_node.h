// SPDX-License-Identifier: Apache-2.0
// TreeNode: an inode of a MutableTree, packed: a layer of a million files is held as a million of
// these. What an Inode says, and what the tree needs beside it, in 56 bytes.
// One thread at a time.
#pragma once

#include <cstdint>
#include <string_view>

#include "index/index.h"

namespace layerfs {

// An entry (a name) of a MutableTree.
enum class EntryId : uint32_t {};
inline constexpr EntryId kNoEntry{0};

class TreeNode {
 public:
  TreeNode() = default;
  // `target` stays where it is as long as the node: a symlink's and an unresolved link's.
  TreeNode(const Inode& from, std::string_view target, uint32_t xattr_set, uint32_t extent_list);

  bool is_directory() const { return (mode_ & 0170000) == 0040000; }
  bool is_symlink() const { return (mode_ & 0170000) == 0120000; }
  bool alive() const { return alive_; }
  bool implicit() const { return implicit_; }
  bool opaque() const { return opaque_; }
  bool unresolved_link() const { return unresolved_link_; }
  uint32_t nlink() const { return nlink_; }
  uint32_t xattr_set() const { return xattr_set_; }
  // 0: not sparse.
  uint32_t extent_list() const { return is_regular() ? extents_or_depth_ : 0; }
  std::string_view target() const {
    return has_target() ? std::string_view(link_.target, link_.size) : std::string_view();
  }
  // Of directories.
  InodeNumber parent() const { return directory_.parent; }
  uint32_t entry_count() const { return directory_.entry_count; }
  EntryId first_entry() const { return directory_.first_entry; }
  EntryId name() const { return directory_.name; }
  uint16_t depth() const { return static_cast<uint16_t>(extents_or_depth_); }

  Inode ToInode() const;

 private:
  friend class MutableTree;
  struct Directory {
    InodeNumber parent;
    uint32_t entry_count;
    EntryId first_entry;
    EntryId name;  // the entry that names it
  };
  struct File {
    uint64_t size;
    uint64_t data_offset;
  };
  struct Link {
    const char* target;
    uint64_t size;
  };

  bool is_regular() const { return (mode_ & 0170000) == 0100000; }
  bool is_device() const { return (mode_ & 0170000) == 0020000 || (mode_ & 0170000) == 0060000; }
  bool has_target() const { return is_symlink() || unresolved_link_; }

  int64_t mtime_seconds_ = 0;
  union {  // by type
    Directory directory_ = {};
    File file_;
    Link link_;
    dev_t rdev_;
  };
  uint32_t mtime_nanoseconds_ = 0;
  uint32_t uid_ = 0;
  uint32_t gid_ = 0;
  uint32_t nlink_ = 0;
  uint32_t xattr_set_ = 0;
  uint32_t extents_or_depth_ = 0;  // regular files; directories: components from the root
  uint16_t mode_ = 0;
  uint16_t layer_ = 0;
  bool implicit_ : 1 = false;
  bool opaque_ : 1 = false;
  bool unresolved_link_ : 1 = false;
  bool alive_ : 1 = false;
};
static_assert(sizeof(TreeNode) == 56);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// MutableTree: a tree of inodes and names in memory that can be changed, which the layer index
// builder and the merge work on. Made for millions of entries: a node and an entry are a record in
// an array each, and a name is found through one hash table over (directory, name), so that adding
// or replacing a name costs the same in a directory of ten and of a million.
// One thread at a time.
//
// Invariants:
//   1. Node 1 is the root and a directory. Nodes are numbered as inodes are (kNoInode is nobody),
//      but in order of creation and with gaps.
//   2. A directory but the root has one entry, its name; another node has inode.nlink entries.
//   3. inode.nlink of a directory is 2 + its subdirectories, as ext4 counts.
//   4. A node that loses its last name (and is not held) is dead; its number is used again only
//      after Recycle.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "index/base/error.h"
#include "index/index.h"
#include "index/paged_vector.h"
#include "index/tree_node.h"

namespace layerfs {

// Against archives that describe endless trees: far above real images (a few million entries, a few
// dozen levels), and low enough that a tree at the limit still fits in memory and in the format.
inline constexpr uint32_t kMaxTreeNodes = uint32_t{1} << 24;  // likewise names and sparse extents
inline constexpr uint32_t kMaxTreeDepth = 4096;
// The sum of an inode's extended attributes; the tar parser allows no more either, and the usual
// Linux file systems far less.
inline constexpr uint64_t kMaxXattrBytes = uint64_t{1} << 20;
// The sums of the different sets of extended attributes that a tree has, and of its names: what a
// small archive could fill our memory with. What later layers have removed does not count.
inline constexpr uint64_t kMaxTreeXattrBytes = uint64_t{64} << 20;
inline constexpr uint64_t kMaxTreeNameBytes = uint64_t{128} << 20;

// Bytes that stay where they are until the arena goes.
class StringArena {
 public:
  std::string_view Store(std::string_view text);
  // Whether most of it is of no use any more, of which `used` bytes still are.
  bool IsWaste(uint64_t used) const { return stored_ > 2 * used + kBlockBytes; }

 private:
  static constexpr size_t kBlockBytes = size_t{256} << 10;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
  uint64_t stored_ = 0;  // bytes
};

class MutableTree {
 public:
  struct Entry {
    InodeNumber directory = kNoInode;
    InodeNumber node = kNoInode;  // kNoInode: a whiteout
    EntryId next = kNoEntry;      // the directory's entries, in no order
    EntryId previous = kNoEntry;
    std::string_view name;
  };
  // What a new node is made of; the views need to live only for the call.
  struct NewNode {
    Inode inode;  // parent, nlink and entry_count are kept by the tree
    std::string_view target;
    std::span<const Xattr> xattrs;
    bool sparse = false;
    std::span<const DataExtent> extents;
  };

  // A root directory with the attributes of an implicit one.
  MutableTree();

  const TreeNode& node(InodeNumber number) const { return nodes_[ToUint(number)]; }
  const Entry& entry(EntryId id) const { return entries_[static_cast<uint32_t>(id)]; }
  std::span<const Xattr> Xattrs(const TreeNode& node) const {
    return xattr_sets_[node.xattr_set()].xattrs;
  }
  std::span<const DataExtent> Extents(const TreeNode& node) const {
    return extents_[node.extent_list()];
  }
  bool IsSparse(const TreeNode& node) const { return node.extent_list() != 0; }
  bool IsDirectory(InodeNumber number) const { return node(number).is_directory(); }
  uint32_t node_count() const { return live_nodes_; }
  // Every node's number is smaller.
  size_t number_limit() const { return nodes_.size(); }
  // "a/b" of a directory; empty for the root.
  std::string PathOf(InodeNumber directory) const;

  // A node without a name. kTooLarge beyond the limits above.
  Result<InodeNumber> AddNode(const NewNode& from);
  // Gives a directory other attributes; names and what lies below stay.
  Status SetAttributes(InodeNumber directory, const NewNode& from);
  void SetOpaque(InodeNumber directory, bool opaque);
  void SetImplicit(InodeNumber directory, bool implicit);

  // kNoEntry where there is none; also for a dead directory.
  EntryId Find(InodeNumber directory, std::string_view name) const;
  // Names `node` (kNoInode: a whiteout) in a live directory; what had the name goes, with
  // everything below it. kTooLarge beyond the limits above. A directory may get one name only.
  Result<EntryId> Put(InodeNumber directory, std::string_view name, InodeNumber node);
  // Puts another node behind an existing name.
  Status Replace(EntryId id, InodeNumber node);
  void Remove(EntryId id);
  // Removes everything below.
  void Clear(InodeNumber directory);

  // Keeps a node (not a directory) alive without a name, and lets it go.
  void Hold(InodeNumber node) { ++MutableNode(node).nlink_; }
  void Release(InodeNumber node) { Unlink(node); }

  // Lets the numbers of dead nodes and entries be used again, and the memory of names and targets:
  // whoever remembers numbers of dead nodes, or views of strings, forgets them before.
  void Recycle();

  // For who takes the tree down: first nothing is looked up any more, then only nodes are there.
  void FreeTable() { std::vector<Slot>().swap(slots_); }
  void FreeEntries();

 private:
  TreeNode& MutableNode(InodeNumber number) { return nodes_[ToUint(number)]; }
  Entry& MutableEntry(EntryId id) { return entries_[static_cast<uint32_t>(id)]; }
  Status CheckXattrs(std::span<const Xattr> xattrs) const;
  TreeNode MakeNode(const NewNode& from);
  uint32_t InternXattrs(std::span<const Xattr> xattrs);
  void ReleaseXattrs(uint32_t set);
  void DropWaste();
  Status CheckDepth(InodeNumber directory, InodeNumber node) const;
  void Attach(EntryId id, InodeNumber node);
  void Detach(EntryId id);         // the name no longer names its node; nothing dies
  void Unlink(InodeNumber node);   // one name less; dies at the last
  void RemoveName(EntryId id);     // out of the directory's list and the hash table
  void Drop(InodeNumber subtree);  // everything below and the node itself
  void Die(InodeNumber number);

  // The hash table: open addressing with linear probing; kNoEntry is an empty slot. Salted, so that
  // nobody can make an archive whose names all collide.
  struct Slot {
    EntryId id = kNoEntry;
    uint32_t hash = 0;
  };
  uint32_t HashOf(InodeNumber directory, std::string_view name) const;
  // The slot that holds the name, or the empty one where it would go.
  size_t FindSlot(InodeNumber directory, std::string_view name, uint32_t hash) const;
  void AddToTable(EntryId id);
  void RemoveFromTable(EntryId id);
  void GrowTable();

  PagedVector<TreeNode> nodes_;
  PagedVector<Entry> entries_;
  std::vector<Slot> slots_;
  size_t used_slots_ = 0;
  uint64_t salt_;
  uint32_t live_nodes_ = 0;
  uint64_t extent_count_ = 0;
  uint64_t xattr_bytes_ = 0;  // of the sets; here and below: of what is alive
  uint64_t name_bytes_ = 0;
  uint64_t target_bytes_ = 0;
  std::vector<InodeNumber> free_nodes_, dead_nodes_;
  std::vector<EntryId> free_entries_, dead_entries_;
  StringArena names_;
  StringArena targets_;
  struct XattrSet {
    std::vector<Xattr> xattrs;  // views of its key
    uint32_t users = 0;
  };
  std::vector<XattrSet> xattr_sets_;                             // 0: none
  std::unordered_map<std::string, uint32_t> xattr_set_numbers_;  // by what XattrKey makes of them
  std::vector<uint32_t> free_xattr_sets_;
  std::vector<std::vector<DataExtent>> extents_;  // 0: not sparse
};

}  // namespace layerfs

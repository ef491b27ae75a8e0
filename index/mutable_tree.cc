// SPDX-License-Identifier: Apache-2.0
#include "index/mutable_tree.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <utility>

#include "index/base/bytes.h"
#include "index/base/xxh3.h"
#include "index/path.h"

namespace layerfs {
namespace {

constexpr size_t kFirstSlots = 64;

Error TooMany(std::string_view things) {
  return {.code = ErrorCode::kTooLarge,
          .context = "more than " + std::to_string(kMaxTreeNodes) + " " + std::string(things)};
}

// Names and values, each behind its size.
std::string XattrKey(std::span<const Xattr> sorted) {
  std::string key;
  for (const Xattr& xattr : sorted) {
    for (const std::string_view part : {xattr.name, xattr.value}) {
      key += std::to_string(part.size()) + ':';
      key += part;
    }
  }
  return key;
}

// What XattrKey has made the key of, as views of it.
void ViewInto(std::string_view key, std::span<Xattr> xattrs) {
  const auto take = [&key](size_t size) {
    key.remove_prefix(key.find(':') + 1);
    const std::string_view part = key.substr(0, size);
    key.remove_prefix(size);
    return part;
  };
  for (Xattr& xattr : xattrs) {
    xattr.name = take(xattr.name.size());
    xattr.value = take(xattr.value.size());
  }
}

uint64_t RandomSalt() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

}  // namespace

std::string_view StringArena::Store(std::string_view text) {
  if (text.empty()) return {};
  if (text.size() > left_) {
    const size_t size = std::max(kBlockBytes, text.size());
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    next_ = blocks_.back().get();
    left_ = size;
  }
  char* stored = next_;
  std::copy(text.begin(), text.end(), stored);
  next_ += text.size();
  left_ -= text.size();
  stored_ += text.size();
  return {stored, text.size()};
}

MutableTree::MutableTree()
    : slots_(kFirstSlots), salt_(RandomSalt()), live_nodes_(1), xattr_sets_(1), extents_(1) {
  entries_.Add({});  // kNoEntry
  nodes_.Add({});    // kNoInode
  nodes_.Add(MakeNode({.inode = {.mode = 0040755, .nlink = 2, .implicit = true}}));
}

std::string MutableTree::PathOf(InodeNumber directory) const {
  std::vector<std::string_view> names;
  for (; directory != kRootInode; directory = node(directory).parent()) {
    names.push_back(entry(node(directory).name()).name);
  }
  std::string path;
  for (size_t i = names.size(); i-- > 0;) {
    path += names[i];
    if (i != 0) path += '/';
  }
  return path;
}

Result<InodeNumber> MutableTree::AddNode(const NewNode& from) {
  if (live_nodes_ >= kMaxTreeNodes) return Fail(TooMany("inodes"));
  if (from.extents.size() > kMaxTreeNodes - extent_count_) return Fail(TooMany("sparse extents"));
  LAYERFS_CHECK_OK(CheckXattrs(from.xattrs));
  InodeNumber number;
  if (free_nodes_.empty()) {
    number = InodeNumber(nodes_.size());
    nodes_.Add({});
  } else {
    number = free_nodes_.back();
    free_nodes_.pop_back();
  }
  TreeNode& node = MutableNode(number);
  node = MakeNode(from);
  node.nlink_ = node.is_directory() ? 2 : 0;
  ++live_nodes_;
  return number;
}

TreeNode MutableTree::MakeNode(const NewNode& from) {
  uint32_t extent_list = 0;
  if (from.sparse) {
    extent_list = static_cast<uint32_t>(extents_.size());
    extents_.emplace_back(from.extents.begin(), from.extents.end());
    extent_count_ += from.extents.size();
  }
  target_bytes_ += from.target.size();
  return {from.inode, targets_.Store(from.target), InternXattrs(from.xattrs), extent_list};
}

Status MutableTree::CheckXattrs(std::span<const Xattr> xattrs) const {
  if (!xattrs.empty() && xattr_bytes_ > kMaxTreeXattrBytes) {
    return Fail(ErrorCode::kTooLarge, "extended attributes of more than " +
                                          std::to_string(kMaxTreeXattrBytes) +
                                          " bytes in one tree");
  }
  uint64_t size = 0;
  for (const Xattr& xattr : xattrs) size += xattr.name.size() + xattr.value.size();
  if (size <= kMaxXattrBytes) return {};
  return Fail(ErrorCode::kTooLarge,
              "extended attributes of more than " + std::to_string(kMaxXattrBytes) + " bytes");
}

uint32_t MutableTree::InternXattrs(std::span<const Xattr> xattrs) {
  if (xattrs.empty()) return 0;
  std::vector<Xattr> sorted(xattrs.begin(), xattrs.end());
  std::ranges::sort(sorted, {}, &Xattr::name);
  const bool reused = !free_xattr_sets_.empty();
  const auto number = reused ? free_xattr_sets_.back() : static_cast<uint32_t>(xattr_sets_.size());
  const auto [found, added] = xattr_set_numbers_.try_emplace(XattrKey(sorted), number);
  if (added) {
    reused ? free_xattr_sets_.pop_back() : xattr_sets_.push_back({});
    xattr_bytes_ += found->first.size();
    ViewInto(found->first, sorted);
    xattr_sets_[number].xattrs = std::move(sorted);
  }
  ++xattr_sets_[found->second].users;
  return found->second;
}

void MutableTree::ReleaseXattrs(uint32_t number) {
  XattrSet& set = xattr_sets_[number];
  if (number == 0 || --set.users > 0) return;
  const std::string key = XattrKey(set.xattrs);
  xattr_bytes_ -= key.size();
  set = {};
  xattr_set_numbers_.erase(key);
  free_xattr_sets_.push_back(number);
}

Status MutableTree::SetAttributes(InodeNumber directory, const NewNode& from) {
  LAYERFS_CHECK_OK(CheckXattrs(from.xattrs));
  TreeNode& node = MutableNode(directory);
  const TreeNode before = node;
  node = MakeNode(from);
  node.nlink_ = before.nlink_;
  node.directory_ = before.directory_;
  node.extents_or_depth_ = before.extents_or_depth_;
  node.opaque_ |= before.opaque_;
  ReleaseXattrs(before.xattr_set_);
  return {};
}

void MutableTree::SetOpaque(InodeNumber directory, bool opaque) {
  MutableNode(directory).opaque_ = opaque;
}

void MutableTree::SetImplicit(InodeNumber directory, bool implicit) {
  MutableNode(directory).implicit_ = implicit;
}

Status MutableTree::CheckDepth(InodeNumber directory, InodeNumber node) const {
  if (node == kNoInode || !IsDirectory(node)) return {};
  if (this->node(directory).depth() < kMaxTreeDepth) return {};
  return Fail(ErrorCode::kTooLarge,
              "more than " + std::to_string(kMaxTreeDepth) + " directories deep");
}

Result<EntryId> MutableTree::Put(InodeNumber directory, std::string_view name, InodeNumber node) {
  if (const EntryId existing = Find(directory, name); existing != kNoEntry) {
    LAYERFS_CHECK_OK(Replace(existing, node));
    return existing;
  }
  LAYERFS_CHECK_OK(CheckDepth(directory, node));
  if (used_slots_ >= kMaxTreeNodes) return Fail(TooMany("names"));
  name_bytes_ += name.size();
  if (name_bytes_ > kMaxTreeNameBytes) {
    return Fail(ErrorCode::kTooLarge,
                "names of more than " + std::to_string(kMaxTreeNameBytes) + " bytes in one tree");
  }
  EntryId id;
  if (free_entries_.empty()) {
    id = EntryId(entries_.size());
    entries_.Add({});
  } else {
    id = free_entries_.back();
    free_entries_.pop_back();
  }
  TreeNode::Directory& parent = MutableNode(directory).directory_;
  MutableEntry(id) = {
      .directory = directory, .next = parent.first_entry, .name = names_.Store(name)};
  if (parent.first_entry != kNoEntry) MutableEntry(parent.first_entry).previous = id;
  parent.first_entry = id;
  ++parent.entry_count;
  AddToTable(id);
  Attach(id, node);
  return id;
}

Status MutableTree::Replace(EntryId id, InodeNumber node) {
  const InodeNumber before = entry(id).node;
  if (before == node) return {};
  LAYERFS_CHECK_OK(CheckDepth(entry(id).directory, node));
  // The new node is named first: it may lie below the old one.
  Detach(id);
  Attach(id, node);
  if (before != kNoInode) Unlink(before);
  return {};
}

void MutableTree::Attach(EntryId id, InodeNumber number) {
  Entry& entry = MutableEntry(id);
  entry.node = number;
  if (number == kNoInode) return;
  TreeNode& node = MutableNode(number);
  if (!node.is_directory()) {
    ++node.nlink_;
    return;
  }
  TreeNode& parent = MutableNode(entry.directory);
  node.directory_.name = id;
  node.directory_.parent = entry.directory;
  node.extents_or_depth_ = parent.depth() + 1U;
  ++parent.nlink_;
}

void MutableTree::Detach(EntryId id) {
  Entry& entry = MutableEntry(id);
  if (entry.node != kNoInode && IsDirectory(entry.node)) {
    --MutableNode(entry.directory).nlink_;
  }
  entry.node = kNoInode;
}

void MutableTree::Unlink(InodeNumber number) {
  TreeNode& node = MutableNode(number);
  if (node.is_directory()) return Drop(number);
  if (--node.nlink_ == 0) Die(number);
}

void MutableTree::Remove(EntryId id) {
  const InodeNumber node = entry(id).node;
  Detach(id);
  RemoveName(id);
  if (node != kNoInode) Unlink(node);
}

void MutableTree::RemoveName(EntryId id) {
  RemoveFromTable(id);
  const Entry& entry = MutableEntry(id);
  TreeNode::Directory& parent = MutableNode(entry.directory).directory_;
  if (entry.previous == kNoEntry) {
    parent.first_entry = entry.next;
  } else {
    MutableEntry(entry.previous).next = entry.next;
  }
  if (entry.next != kNoEntry) MutableEntry(entry.next).previous = entry.previous;
  --parent.entry_count;
  name_bytes_ -= entry.name.size();
  dead_entries_.push_back(id);
}

void MutableTree::Clear(InodeNumber directory) {
  while (node(directory).first_entry() != kNoEntry) Remove(node(directory).first_entry());
}

// Not by recursion: a tree may be deeper than the stack.
void MutableTree::Drop(InodeNumber subtree) {
  std::vector<InodeNumber> pending = {subtree};
  while (!pending.empty()) {
    const InodeNumber directory = pending.back();
    pending.pop_back();
    while (node(directory).first_entry() != kNoEntry) {
      const EntryId id = node(directory).first_entry();
      const InodeNumber child = entry(id).node;
      Detach(id);
      RemoveName(id);
      if (child == kNoInode) continue;
      if (IsDirectory(child)) {
        pending.push_back(child);
      } else {
        Unlink(child);
      }
    }
    Die(directory);
  }
}

void MutableTree::Die(InodeNumber number) {
  TreeNode& node = MutableNode(number);
  node.alive_ = false;
  if (const uint32_t list = node.extent_list(); list != 0) {
    extent_count_ -= extents_[list].size();
    extents_[list] = {};
  }
  ReleaseXattrs(std::exchange(node.xattr_set_, 0));
  target_bytes_ -= node.target().size();
  --live_nodes_;
  dead_nodes_.push_back(number);
}

void MutableTree::Recycle() {
  free_nodes_.insert(free_nodes_.end(), dead_nodes_.begin(), dead_nodes_.end());
  free_entries_.insert(free_entries_.end(), dead_entries_.begin(), dead_entries_.end());
  dead_nodes_.clear();
  dead_entries_.clear();
  DropWaste();
}

void MutableTree::DropWaste() {
  if (names_.IsWaste(name_bytes_)) {
    StringArena names;
    for (const Slot& slot : slots_) {
      if (slot.id == kNoEntry) continue;
      Entry& entry = MutableEntry(slot.id);
      entry.name = names.Store(entry.name);
    }
    names_ = std::move(names);
  }
  if (targets_.IsWaste(target_bytes_)) {
    StringArena targets;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      TreeNode& node = nodes_[i];
      if (node.alive_ && node.has_target()) node.link_.target = targets.Store(node.target()).data();
    }
    targets_ = std::move(targets);
  }
}

void MutableTree::FreeEntries() {
  FreeTable();
  entries_.Clear();
  names_ = {};
}

uint32_t MutableTree::HashOf(InodeNumber directory, std::string_view name) const {
  std::array<uint8_t, sizeof salt_ + sizeof directory + kMaxNameBytes> key;
  const size_t size = std::min(name.size(), kMaxNameBytes);
  std::memcpy(key.data(), &salt_, sizeof salt_);
  std::memcpy(key.data() + sizeof salt_, &directory, sizeof directory);
  std::memcpy(key.data() + sizeof salt_ + sizeof directory, name.data(), size);
  const ByteSpan used(key.data(), sizeof salt_ + sizeof directory + size);
  return static_cast<uint32_t>(Xxh3(used));
}

size_t MutableTree::FindSlot(InodeNumber directory, std::string_view name, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t position = hash & mask;
  for (; slots_[position].id != kNoEntry; position = (position + 1) & mask) {
    if (slots_[position].hash != hash) continue;
    const Entry& found = entry(slots_[position].id);
    if (found.directory == directory && found.name == name) break;
  }
  return position;
}

EntryId MutableTree::Find(InodeNumber directory, std::string_view name) const {
  return slots_[FindSlot(directory, name, HashOf(directory, name))].id;
}

void MutableTree::AddToTable(EntryId id) {
  if ((used_slots_ + 1) * 4 > slots_.size() * 3) GrowTable();
  const Entry& added = entry(id);
  const uint32_t hash = HashOf(added.directory, added.name);
  slots_[FindSlot(added.directory, added.name, hash)] = {.id = id, .hash = hash};
  ++used_slots_;
}

// Moves the followers of a probe sequence up, so that the table needs no tombstones.
void MutableTree::RemoveFromTable(EntryId id) {
  const Entry& removed = entry(id);
  const size_t mask = slots_.size() - 1;
  size_t hole = FindSlot(removed.directory, removed.name, HashOf(removed.directory, removed.name));
  slots_[hole] = {};
  --used_slots_;
  for (size_t next = (hole + 1) & mask; slots_[next].id != kNoEntry; next = (next + 1) & mask) {
    const size_t home = slots_[next].hash & mask;
    // It may move only if its home is not between the hole and where it is.
    if (((next - home) & mask) < ((next - hole) & mask)) continue;
    slots_[hole] = std::exchange(slots_[next], {});
    hole = next;
  }
}

void MutableTree::GrowTable() {
  std::vector<Slot> before(slots_.size() * 2);
  before.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : before) {
    if (slot.id == kNoEntry) continue;
    size_t position = slot.hash & mask;
    while (slots_[position].id != kNoEntry) position = (position + 1) & mask;
    slots_[position] = slot;
  }
}

}  // namespace layerfs

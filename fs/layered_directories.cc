// SPDX-License-Identifier: Apache-2.0
// LayeredFileSystem: reading directories.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/layered_state.h"
#include "index/base/xxh3.h"

namespace layerfs {
namespace {

// Directory offsets: 0 means the start, and "." and ".." come first.
constexpr uint64_t kBehindDot = 1;
constexpr uint64_t kBehindDotDot = 2;

// An off_t that only the name decides. Two names of one directory share it once in 2^63 pairs.
uint64_t OffsetOf(std::string_view name) {
  return std::max(Xxh3(AsBytes(name)) >> 1, kBehindDotDot + 1);
}

}  // namespace

void LayeredFileSystem::OpenDirectory(const Caller&, NodeId id, Reply reply) {
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  OpenReply opened;
  opened.handle = state_->next_directory.fetch_add(1);
  // Changes go through this kernel, which drops what it has cached then.
  opened.keep_cache = true;
  opened.cache_directory = true;
  reply.Open(opened);
}

void LayeredFileSystem::ReleaseDirectory(NodeId, uint64_t handle, Reply reply) {
  state_->directories.With([&](State::Directories& open) { open.erase(handle); });
  reply.Errno(0);
}

void LayeredFileSystem::ReadDirectory(const Caller&, NodeId id, uint64_t handle, uint64_t offset,
                                      DirectoryBuffer buffer, Reply reply) {
  const State::SharedLock guard(state_->tree->lock());
  const auto node = state_->Node(id);
  if (!node.has_value()) return reply.Fail(node.error());
  const NodePtr& directory = *node;
  std::shared_ptr<const DirectorySnapshot> snapshot;
  if (offset > 0) {
    snapshot = state_->directories.With([&](State::Directories& open) {
      const auto it = open.find(handle);
      return it == open.end() ? nullptr : it->second;
    });
  }
  if (snapshot == nullptr) {
    auto made = std::make_shared<DirectorySnapshot>();
    const auto note = [&](const LayerTree::ListedEntry& entry) {
      made->entries.push_back(
          {std::string(entry.name), entry.st_ino, entry.type, OffsetOf(entry.name)});
      return true;
    };
    const Status listed = state_->tree->List(*directory, LayerTree::Listing::kNames, note);
    if (!listed.has_value()) return reply.Fail(listed.error());
    std::ranges::sort(made->entries, {}, &DirectorySnapshot::Entry::offset);
    snapshot = std::move(made);
    state_->directories.With([&](State::Directories& open) { open[handle] = snapshot; });
  }
  const auto add_plain = [&](std::string_view name, uint64_t st_ino, mode_t type, uint64_t next) {
    EntryReply entry;  // Node 0: it is not looked up.
    entry.attributes.st_ino = st_ino;
    entry.attributes.st_mode = type;
    return buffer.Add(name, entry, next);
  };
  bool room = true;
  if (offset == 0) room = add_plain(".", directory->st_ino, S_IFDIR, kBehindDot);
  if (room && offset <= kBehindDot) {
    const NodePtr& parent = directory->parent == nullptr ? directory : directory->parent;
    room = add_plain("..", parent->st_ino, S_IFDIR, kBehindDotDot);
  }
  const bool kernel_keeps = state_->options.timeout_seconds >= kForeverSeconds;
  auto at =
      std::ranges::upper_bound(snapshot->entries, offset, {}, &DirectorySnapshot::Entry::offset);
  for (; room && at != snapshot->entries.end(); ++at) {
    const DirectorySnapshot::Entry& listed = *at;
    const uint64_t next = listed.offset;
    // What the kernel knows and keeps, it need not be told again: a system call less for each name.
    if (kernel_keeps) {
      const NodePtr known = state_->tree->KnownListed(directory, listed.name, listed.st_ino);
      if (known != nullptr) {
        room = add_plain(listed.name, known->st_ino, known->type, next);
        continue;
      }
    }
    const auto child = state_->tree->Lookup(directory, listed.name);
    if (!child.has_value()) {
      room = add_plain(listed.name, listed.st_ino, listed.type, next);
      continue;
    }
    if (!child->exists) continue;  // A whiteout, or it has gone since.
    if (!buffer.plus()) {
      room = add_plain(listed.name, child->made->st_ino, child->made->type, next);
      continue;
    }
    const NodePtr known = state_->tree->Adopt(*child);
    const auto entry = state_->Entry(*known, child->upper.has_value() ? &*child->upper : nullptr);
    room = entry.has_value() ? buffer.Add(listed.name, *entry, next)
                             : add_plain(listed.name, listed.st_ino, listed.type, next);
    if (!room || !entry.has_value()) state_->tree->Forget(known->id, 1);
  }
  reply.Directory(buffer);
}

void LayeredFileSystem::SyncDirectory(const Caller&, NodeId id, uint64_t, bool data_only,
                                      Reply reply) {
  if (!state_->options.sync) return reply.Errno(0);
  UniqueFd fd;
  {
    const State::SharedLock guard(state_->tree->lock());
    const auto node = state_->Node(id);
    if (!node.has_value()) return reply.Fail(node.error());
    if (!(*node)->has_upper) return reply.Errno(0);
    auto opened = state_->tree->OpenUpper(**node, O_RDONLY | O_DIRECTORY);
    if (!opened.has_value()) return reply.Fail(opened.error());
    fd = std::move(*opened);
  }
  const int result = data_only ? ::fdatasync(fd.get()) : ::fsync(fd.get());
  reply.Errno(result == 0 ? 0 : errno);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// LayeredFileSystem: reading directories.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "fs/layered_state.h"

namespace layerfs {
namespace {

// Directory offsets: "." and ".." come first, and 0 means the start.
constexpr uint64_t kFirstEntryOffset = 2;

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
    const Status listed = state_->tree->List(*directory, [&](const LayerTree::ListedEntry& entry) {
      made->entries.push_back({std::string(entry.name), entry.st_ino, entry.type});
      return true;
    });
    if (!listed.has_value()) return reply.Fail(listed.error());
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
  if (offset == 0) room = add_plain(".", directory->st_ino, S_IFDIR, 1);
  if (room && offset <= 1) {
    const NodePtr& parent = directory->parent == nullptr ? directory : directory->parent;
    room = add_plain("..", parent->st_ino, S_IFDIR, kFirstEntryOffset);
  }
  uint64_t position = offset < kFirstEntryOffset ? 0 : offset - kFirstEntryOffset;
  for (; room && position < snapshot->entries.size(); ++position) {
    const DirectorySnapshot::Entry& listed = snapshot->entries[position];
    const uint64_t next = position + kFirstEntryOffset + 1;
    if (!buffer.plus()) {
      room = add_plain(listed.name, listed.st_ino, listed.type, next);
      continue;
    }
    const auto child = state_->tree->Lookup(directory, listed.name);
    if (!child.has_value() || !child->exists) {
      // It has gone since.
      room = add_plain(listed.name, listed.st_ino, listed.type, next);
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

// SPDX-License-Identifier: Apache-2.0
// What LayeredFileSystem's own files share.
// Thread-safe, where nothing else is said.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/layer_tree.h"
#include "fs/layered_file_system.h"
#include "fs/open_files.h"
#include "fs/startup_pusher.h"

namespace layerfs {

// A directory as it was when it was opened, or rewound. An entry's offset comes from its name, and
// entries are in the order of offsets: who goes on where another handle's listing, cached by the
// kernel, ended loses none and sees none twice, whatever has changed since.
struct DirectorySnapshot {
  struct Entry {
    std::string name;
    uint64_t st_ino = 0;
    mode_t type = 0;
    uint64_t offset = 0;  // reading goes on behind it
  };
  std::vector<Entry> entries;
};

struct LayeredFileSystem::State {
  State(std::unique_ptr<LayerTree> tree_in, Options options_in)
      : tree(std::move(tree_in)), options(std::move(options_in)), files(*tree, interrupts) {}

  std::unique_ptr<LayerTree> tree;
  const Options options;
  Interrupts interrupts;
  OpenFiles files;
  Notifier* notifier = nullptr;
  using Directories = std::unordered_map<uint64_t, std::shared_ptr<const DirectorySnapshot>>;
  Synchronized<Directories> directories;
  std::atomic<uint64_t> next_directory{1};

  using SharedLock = std::shared_lock<std::shared_mutex>;
  using ExclusiveLock = std::unique_lock<std::shared_mutex>;

  // The kernel only names what it knows.
  Result<NodePtr> Node(NodeId id) const {
    NodePtr node = tree->Find(id);
    if (node == nullptr) return FailErrno("inode " + std::to_string(id), ESTALE);
    return node;
  }
  double AttributeSeconds(NodeId node) const {
    return files.ChangesUnseen(node) ? 0 : options.timeout_seconds;
  }
  // Under the lock. The kernel got to know it before.
  Result<EntryReply> Entry(const LayerNode& node, const struct stat* upper = nullptr) const;
  // The entry of a node just adopted; it is forgotten again where that fails.
  void ReplyEntry(const NodePtr& node, Reply& reply, const struct stat* upper = nullptr) const;
  // A file handle's inode, which the kernel may have forgotten; it counts it as a lookup.
  void LookupHandle(NodeId id, Reply& reply) const;
  // For a change by name of something that is copied up whole: without the lock, before the change.
  Status PrepareNamed(NodeId parent, std::string_view name) const;

  // Under the exclusive lock.
  Status ClearForeignSetgid(const Caller& caller, const LayerNode& node) const;
  // What a write by that user drops (null: who may set it); takes the lock exclusively.
  Status DropPrivileges(const LayerNode& node, const Caller* user);
  std::optional<std::string> CapabilityToKeep(const LayerNode& node) const;
  void GiveBack(const LayerNode& node, const std::string& capability) const;

  // Before a file is opened to be read: what the startup pack has of it goes into the page cache.
  void BeforeRead(NodeId id, std::function<void()> open) const {
    options.pusher->BeforeOpen(ToInode(id), std::move(open));
  }
  // Whether the startup pack may have pages of it: not once it has been changed.
  bool MayBePushed(NodeId id) const {
    if (options.pusher == nullptr || id > UINT32_MAX) return false;
    const SharedLock guard(tree->lock());
    const auto node = Node(id);
    return node.has_value() && (*node)->is_regular() && !(*node)->has_upper;
  }
  // Before the content of a file changes that may be as the image has it.
  void BeforeChange(NodeId node, std::function<void()> change) const {
    if (options.pusher == nullptr || node > UINT32_MAX) return change();
    options.pusher->Forbid(ToInode(node), std::move(change));
  }
  // Of a file of the image; others have ids of more bits.
  static InodeNumber ToInode(NodeId node) { return InodeNumber{static_cast<uint32_t>(node)}; }

  // A token for what may wait, and the reply that several may want to answer.
  struct Waiting {
    Interrupts::Token token = 0;
    std::shared_ptr<Reply> reply;
  };
  Waiting MayWait(Reply reply) {
    const Interrupts::Token token = interrupts.Announce();
    reply.SetInterruptToken(token);
    return {token, std::make_shared<Reply>(std::move(reply))};
  }
};

}  // namespace layerfs

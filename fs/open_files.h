// SPDX-License-Identifier: Apache-2.0
// OpenFiles: what is open in a LayeredFileSystem, by inode: its content, and how the kernel has it
// open. An inode cannot be open in cached mode and with a backing file at once (design, "Known
// traps"), so the first open decides for those that follow.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "fs/file_system.h"
#include "fs/layer_file.h"
#include "fs/layer_tree.h"
#include "fs/lower_file.h"
#include "index/base/synchronized.h"

namespace layerfs {

// One of the two: the upper file's, once there is one.
struct FileContent {
  std::shared_ptr<LayerFile> layer;
  std::shared_ptr<LowerFile> lower;
};

class OpenFiles {
 public:
  // All outlive it.
  OpenFiles(LayerTree& tree, Interrupts& interrupts) : tree_(tree), interrupts_(interrupts) {}
  void Start(Notifier* notifier, bool passthrough) {
    notifier_ = notifier;
    passthrough_ = passthrough;
  }

  // Keeps the inode's content for as long as it lives. Cheap where somebody else has it.
  class Use {
   public:
    Use(Use&& other) noexcept
        : files_(std::exchange(other.files_, nullptr)), node_(std::move(other.node_)) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (files_ != nullptr) files_->Drop(node_->id);
    }

   private:
    friend class OpenFiles;
    Use(OpenFiles* files, NodePtr node) : files_(files), node_(std::move(node)) {}
    OpenFiles* files_;
    NodePtr node_;
  };
  Use Acquire(const NodePtr& node);
  // The content as it is now; the caller has a Use, or a handle. Opens what is missing: local I/O.
  Result<FileContent> Content(const NodePtr& node);
  // `made`: the upper file, just created and open; `privileged`: with setuid or setgid.
  Result<FileContent> Content(const NodePtr& node, UniqueFd made, bool privileged);

  // A handle of the kernel's: a Use that lasts until Close.
  struct Handle {
    bool passthrough = false;
    bool writes = false;
    uint64_t Encode() const { return (passthrough ? 1U : 0U) | (writes ? 2U : 0U); }
    static Handle Decode(uint64_t handle) { return {(handle & 1U) != 0, (handle & 2U) != 0}; }
  };
  // Decides how it is opened; fills `reply`.
  void Open(const NodePtr& node, const FileContent& content, bool writes, OpenReply& reply);
  void Close(NodeId node, Handle handle);
  // The kernel may change times and blocks unasked: attributes must not be kept.
  bool ChangesUnseen(NodeId node) const;
  // Capabilities, setuid or setgid may be lost with the next write.
  bool MayLosePrivileges(NodeId node) const;
  // It has some from now on, or has not any more.
  void NotePrivileges(NodeId node, bool privileged);
  // The map of a file that lost its last name: goes when it is closed, or now.
  void Doom(NodeId node, const std::string& map);

 private:
  struct OpenInode {
    explicit OpenInode(NodePtr node_in) : node(std::move(node_in)) {}
    const NodePtr node;
    std::mutex making;  // held while the content is opened, so that there is one
    Synchronized<FileContent> content;
    // Guarded by the table.
    uint32_t uses = 0;
    uint32_t cached_opens = 0;
    uint32_t passthrough_opens = 0;
    uint32_t passthrough_writers = 0;
    int32_t backing_id = 0;
    std::optional<bool> privileged;  // known once its content is the container layer's
    std::string doomed_map;
  };
  using Inodes = std::unordered_map<NodeId, std::shared_ptr<OpenInode>>;

  std::shared_ptr<OpenInode> Find(NodeId node) const;
  Result<FileContent> Make(OpenInode& inode, UniqueFd made, bool privileged);
  bool OpenPassthrough(const std::shared_ptr<OpenInode>& inode, const FileContent& content,
                       bool writes, OpenReply& reply);
  void Drop(NodeId node);
  void Finish(const std::shared_ptr<OpenInode>& inode);

  LayerTree& tree_;
  Interrupts& interrupts_;
  Notifier* notifier_ = nullptr;
  std::atomic<bool> passthrough_{false};
  Synchronized<Inodes> inodes_;
};

}  // namespace layerfs

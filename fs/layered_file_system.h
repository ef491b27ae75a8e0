// SPDX-License-Identifier: Apache-2.0
// LayeredFileSystem: an optional container layer over a stack of lower sources, as one file system:
// overlayfs's semantics and on-disk form (CONTAINER_LAYER.md), and copy-up that leaves data below.
// Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "fs/container_layer.h"
#include "fs/file_system.h"
#include "fs/id_map.h"
#include "fs/layer_tree.h"
#include "fs/lower_source.h"
#include "fs/namespace_ids.h"

namespace layerfs {

class StartupPusher;  // fs/startup_pusher.h

class LayeredFileSystem final : public FileSystem {
 public:
  struct Options {
    bool passthrough = true;  // open whole files of the container layer with a backing file
    bool posix_acl = true;
    bool redirect_dir = true;      // directories from below can be renamed; else EXDEV
    bool follow_redirects = true;  // else EPERM for a directory that has been renamed
    bool sync = true;  // false: fsync does nothing (fuse-overlayfs's and overlayfs's volatile)
    bool static_nlink = false;  // directories show one link
    // Owners that show instead of the real ones.
    std::optional<uid_t> squash_uid;
    std::optional<gid_t> squash_gid;
    IdMap uids;
    IdMap gids;
    NamespaceIds ids;                          // of the mount: who can be named in an ACL
    double timeout_seconds = kForeverSeconds;  // of entries and attributes
    // Pushes pages of files that are as the one source, an image, has them. Outlives it; may be
    // null.
    StartupPusher* pusher = nullptr;
  };
  // `sources`: the topmost first. Without `layer` the file system is read-only.
  static Result<std::unique_ptr<LayeredFileSystem>> Make(
      std::optional<ContainerLayer> layer, std::vector<std::unique_ptr<LowerSource>> sources,
      Options options);
  ~LayeredFileSystem() override;

  SessionWishes Wishes() const override;
  void Start(const SessionAbilities& abilities, Notifier& notifier) override;
  void Stop() override;
  void Interrupt(uint64_t token) override;
  void Lookup(const Caller&, NodeId parent, std::string_view name, Reply reply) override;
  void Forget(NodeId node, uint64_t lookups) override;
  void GetAttributes(const Caller&, NodeId node, uint64_t handle, Reply reply) override;
  void SetAttributes(const Caller&, NodeId, const AttributeChange&, uint64_t handle,
                     Reply reply) override;
  void ReadLink(const Caller&, NodeId node, Reply reply) override;
  void MakeNode(const Caller&, NodeId parent, std::string_view name, mode_t, dev_t,
                Reply reply) override;
  void MakeDirectory(const Caller&, NodeId parent, std::string_view name, mode_t,
                     Reply reply) override;
  void Unlink(const Caller&, NodeId parent, std::string_view name, Reply reply) override;
  void RemoveDirectory(const Caller&, NodeId parent, std::string_view name, Reply reply) override;
  void Symlink(const Caller&, std::string_view target, NodeId parent, std::string_view name,
               Reply reply) override;
  void Rename(const Caller&, NodeId parent, std::string_view name, NodeId new_parent,
              std::string_view new_name, unsigned flags, Reply reply) override;
  void Link(const Caller&, NodeId node, NodeId new_parent, std::string_view new_name,
            Reply reply) override;
  void Open(const Caller&, NodeId node, int flags, Reply reply) override;
  void Create(const Caller&, NodeId parent, std::string_view name, mode_t, int flags,
              Reply reply) override;
  void TemporaryFile(const Caller&, NodeId parent, mode_t, int flags, Reply reply) override;
  void Read(const Caller&, NodeId node, uint64_t handle, uint64_t offset, size_t size, int flags,
            Reply reply) override;
  void Write(const Caller&, NodeId node, uint64_t handle, uint64_t offset, ByteSpan data,
             bool written_back, Reply reply) override;
  void Release(NodeId node, uint64_t handle, int32_t backing_id, Reply reply) override;
  void Sync(const Caller&, NodeId node, uint64_t handle, bool data_only, Reply reply) override;
  void OpenDirectory(const Caller&, NodeId node, Reply reply) override;
  void ReadDirectory(const Caller&, NodeId node, uint64_t handle, uint64_t offset,
                     DirectoryBuffer buffer, Reply reply) override;
  void ReleaseDirectory(NodeId node, uint64_t handle, Reply reply) override;
  void SyncDirectory(const Caller&, NodeId node, uint64_t handle, bool data_only,
                     Reply reply) override;
  void Statfs(NodeId node, Reply reply) override;
  void SetXattr(const Caller&, NodeId node, std::string_view name, std::string_view value,
                int flags, Reply reply) override;
  void GetXattr(const Caller&, NodeId node, std::string_view name, size_t capacity,
                Reply reply) override;
  void ListXattrs(const Caller&, NodeId node, size_t capacity, Reply reply) override;
  void RemoveXattr(const Caller&, NodeId node, std::string_view name, Reply reply) override;
  void Allocate(const Caller&, NodeId, uint64_t handle, int mode, uint64_t offset, uint64_t size,
                Reply reply) override;
  void CopyRange(const Caller&, NodeId from, uint64_t from_handle, uint64_t from_offset, NodeId to,
                 uint64_t to_handle, uint64_t to_offset, size_t size, Reply reply) override;
  void Seek(const Caller&, NodeId node, uint64_t handle, uint64_t offset, int whence,
            Reply reply) override;

  void KillPrivileges(const Caller&, NodeId node) override;

  struct State;

 private:
  void OpenNow(NodeId node, int flags, Reply reply);
  void ChangeAttributes(const Caller& caller, NodeId node, const AttributeChange& change,
                        Reply reply);
  void ReplyCreated(LayerTree::Made made, const Result<EntryReply>& entry, Reply& reply);
  explicit LayeredFileSystem(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace layerfs

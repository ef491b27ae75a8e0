// SPDX-License-Identifier: Apache-2.0
// ImageFileSystem: an image's tree, read-only. A node id is an inode number of the tree, so nothing
// is kept per node, and ids hold across remounts of the same image.
// Thread-safe.
#pragma once

#include <functional>
#include <memory>

#include "fs/file_reader.h"
#include "fs/file_system.h"
#include "fs/image.h"
#include "fs/namespace_ids.h"

namespace layerfs {

class ImageFileSystem final : public FileSystem {
 public:
  struct Options {
    bool passthrough = true;  // open whole files with a backing file where the kernel can
    bool posix_acl = true;
    NamespaceIds ids;  // of the mount: who can be named in an ACL
    // Is told of every inode that is looked up; must not block.
    std::function<void(InodeNumber)> on_lookup;
  };
  // `reader` outlives the file system.
  ImageFileSystem(std::shared_ptr<Image> image, FileReader& reader, Options options);
  ~ImageFileSystem() override;

  SessionWishes Wishes() const override;
  void Start(const SessionAbilities& abilities, Notifier& notifier) override;
  void Stop() override;
  void Interrupt(uint64_t token) override;
  void Lookup(const Caller&, NodeId parent, std::string_view name, Reply reply) override;
  void GetAttributes(const Caller&, NodeId node, uint64_t handle, Reply reply) override;
  void ReadLink(const Caller&, NodeId node, Reply reply) override;
  void Open(const Caller&, NodeId node, int flags, Reply reply) override;
  void Read(const Caller&, NodeId node, uint64_t handle, uint64_t offset, size_t size, int flags,
            Reply reply) override;
  void Release(NodeId node, uint64_t handle, int32_t backing_id, Reply reply) override;
  void OpenDirectory(const Caller&, NodeId node, Reply reply) override;
  void ReadDirectory(const Caller&, NodeId node, uint64_t handle, uint64_t offset,
                     DirectoryBuffer buffer, Reply reply) override;
  void ReleaseDirectory(NodeId node, uint64_t handle, Reply reply) override;
  void Statfs(NodeId node, Reply reply) override;
  void GetXattr(const Caller&, NodeId node, std::string_view name, size_t capacity,
                Reply reply) override;
  void ListXattrs(const Caller&, NodeId node, size_t capacity, Reply reply) override;
  void Seek(const Caller&, NodeId node, uint64_t handle, uint64_t offset, int whence,
            Reply reply) override;

 private:
  struct State;
  void OpenNow(InodeNumber number, Reply reply);
  std::unique_ptr<State> state_;
};

}  // namespace layerfs

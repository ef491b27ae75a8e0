// SPDX-License-Identifier: Apache-2.0
// FileSystem: what the FUSE edge asks of a file system, in the kernel's terms (node ids, not
// paths). The image (read-only) and the container layer are its two implementations. Every
// operation may keep its Reply and answer later; none may wait for the network.
// Implementations are thread-safe: operations come from several threads at once.
//
// The interface is as wide as the kernel's (linux/fuse.h); what is not overridden answers ENOSYS,
// which makes the kernel do without, or EROFS where it would change something.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "fs/reply.h"
#include "index/base/bytes.h"

namespace layerfs {

// Who asks.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  mode_t umask = 0;
};

// What the file system can tell the kernel unasked. Valid from Start to the session's end.
// Thread-safe; never called from inside an operation that the kernel waits for, but for
// InvalidateAttributes, which takes no lock of the node's (fs/fuse/inode.c,
// fuse_reverse_inval_inode), and for a Store from an Open that does not truncate: of its node the
// kernel holds no lock then (fs/fuse/file.c, fuse_open).
class Notifier {
 public:
  virtual ~Notifier() = default;
  virtual void InvalidateEntry(NodeId parent, std::string_view name) = 0;
  virtual void InvalidateNode(NodeId node, int64_t offset, int64_t size) = 0;
  void InvalidateAttributes(NodeId node) { InvalidateNode(node, -1, 0); }
  // Puts bytes into the kernel's page cache of `node`, over what is there. False where the kernel
  // does not know the node. Waits for pages that are being read.
  virtual bool Store(NodeId node, uint64_t offset, ByteSpan bytes) = 0;
  // Registers a file for passthrough: an id > 0, or -errno. The id goes into OpenReply.
  virtual int RegisterBackingFile(int fd) = 0;
  virtual void UnregisterBackingFile(int backing_id) = 0;
};

// What the kernel agreed to when the session began.
struct SessionAbilities {
  bool passthrough = false;
  bool io_uring = false;
  bool no_open = false;
  bool no_opendir = false;
  bool user_mount = false;
};

// What a file system wants of the kernel.
struct SessionWishes {
  bool writable = false;
  bool writeback_cache = false;
  bool posix_locks = false;
  bool flock_locks = false;
  // Open (OpenDirectory) may answer ENOSYS: the kernel takes every open for granted from then on,
  // keeps the page cache (caches directories), and never sends a Release.
  bool no_open = false;
  bool no_opendir = false;
  // A mount that may pass through cannot lie below kernel overlayfs: it counts as stacked.
  bool passthrough = true;
  bool cache_symlinks = false;
  bool posix_acl = false;  // the kernel checks system.posix_acl_*; implies its own checks
  bool readdirplus = true;
  bool handle_killpriv = false;  // the kernel leaves clearing of setuid to us (v2)
};

// Which attributes a setattr changes.
struct AttributeChange {
  struct stat values{};
  bool mode = false;
  bool uid = false;
  bool gid = false;
  bool size = false;
  bool atime = false;
  bool mtime = false;
  bool ctime = false;
  bool atime_now = false;
  bool mtime_now = false;
  bool kill_suid_gid = false;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual SessionWishes Wishes() const = 0;
  // Called once before the first operation; `notifier` outlives the session's operations.
  virtual void Start(const SessionAbilities& abilities, Notifier& notifier);
  // The session is over; nothing is asked any more. Every Reply has to be answered before it
  // returns: there is no session afterwards.
  virtual void Stop() {}
  // The caller whose Reply carries `token` was interrupted; answer it with EINTR soon.
  virtual void Interrupt(uint64_t /*token*/) {}

  virtual void Lookup(const Caller&, NodeId parent, std::string_view name, Reply reply) = 0;
  virtual void Forget(NodeId /*node*/, uint64_t /*lookups*/) {}
  virtual void GetAttributes(const Caller&, NodeId node, uint64_t handle, Reply reply) = 0;
  virtual void SetAttributes(const Caller&, NodeId, const AttributeChange&, uint64_t handle,
                             Reply reply);
  virtual void ReadLink(const Caller&, NodeId node, Reply reply) = 0;

  virtual void MakeNode(const Caller&, NodeId parent, std::string_view name, mode_t, dev_t,
                        Reply reply);
  virtual void MakeDirectory(const Caller&, NodeId parent, std::string_view name, mode_t,
                             Reply reply);
  virtual void Unlink(const Caller&, NodeId parent, std::string_view name, Reply reply);
  virtual void RemoveDirectory(const Caller&, NodeId parent, std::string_view name, Reply reply);
  virtual void Symlink(const Caller&, std::string_view target, NodeId parent, std::string_view name,
                       Reply reply);
  // `flags` as renameat2(2).
  virtual void Rename(const Caller&, NodeId parent, std::string_view name, NodeId new_parent,
                      std::string_view new_name, unsigned flags, Reply reply);
  virtual void Link(const Caller&, NodeId node, NodeId new_parent, std::string_view new_name,
                    Reply reply);

  virtual void Open(const Caller&, NodeId node, int flags, Reply reply) = 0;
  virtual void Create(const Caller&, NodeId parent, std::string_view name, mode_t, int flags,
                      Reply reply);
  virtual void TemporaryFile(const Caller&, NodeId parent, mode_t, int flags, Reply reply);
  virtual void Read(const Caller&, NodeId node, uint64_t handle, uint64_t offset, size_t size,
                    int flags, Reply reply) = 0;
  // With SessionWishes::handle_killpriv: before a write or an open that truncates, by somebody
  // whose writes clear setuid and setgid.
  virtual void KillPrivileges(const Caller&, NodeId /*node*/) {}
  // `data` is valid during the call only. `written_back`: pages that were stored to through a
  // mapping, by whom and when nobody knows any more; no write(2).
  virtual void Write(const Caller&, NodeId node, uint64_t handle, uint64_t offset, ByteSpan data,
                     bool written_back, Reply reply);
  virtual void Flush(const Caller&, NodeId node, uint64_t handle, uint64_t lock_owner, Reply reply);
  virtual void Release(NodeId node, uint64_t handle, int32_t backing_id, Reply reply) = 0;
  virtual void Sync(const Caller&, NodeId node, uint64_t handle, bool data_only, Reply reply);

  virtual void OpenDirectory(const Caller&, NodeId node, Reply reply) = 0;
  // Fills `buffer` from `offset` on (0: the start) and answers with it.
  virtual void ReadDirectory(const Caller&, NodeId node, uint64_t handle, uint64_t offset,
                             DirectoryBuffer buffer, Reply reply) = 0;
  virtual void ReleaseDirectory(NodeId node, uint64_t handle, Reply reply) = 0;
  virtual void SyncDirectory(const Caller&, NodeId node, uint64_t handle, bool data_only,
                             Reply reply);

  virtual void Statfs(NodeId node, Reply reply) = 0;
  virtual void SetXattr(const Caller&, NodeId node, std::string_view name, std::string_view value,
                        int flags, Reply reply);
  virtual void GetXattr(const Caller&, NodeId node, std::string_view name, size_t capacity,
                        Reply reply) = 0;
  virtual void ListXattrs(const Caller&, NodeId node, size_t capacity, Reply reply) = 0;
  virtual void RemoveXattr(const Caller&, NodeId node, std::string_view name, Reply reply);
  virtual void Access(const Caller&, NodeId node, int mask, Reply reply);

  virtual void GetLock(const Caller&, NodeId, uint64_t handle, uint64_t owner, struct flock,
                       Reply reply);
  virtual void SetLock(const Caller&, NodeId, uint64_t handle, uint64_t owner, struct flock,
                       bool wait, Reply reply);
  virtual void FlockFile(const Caller&, NodeId, uint64_t handle, uint64_t owner, int operation,
                         Reply reply);
  virtual void Allocate(const Caller&, NodeId, uint64_t handle, int mode, uint64_t offset,
                        uint64_t size, Reply reply);
  virtual void CopyRange(const Caller&, NodeId from, uint64_t from_handle, uint64_t from_offset,
                         NodeId to, uint64_t to_handle, uint64_t to_offset, size_t size,
                         Reply reply);
  // SEEK_DATA and SEEK_HOLE; the kernel does the others.
  virtual void Seek(const Caller&, NodeId node, uint64_t handle, uint64_t offset, int whence,
                    Reply reply);
};

}  // namespace layerfs

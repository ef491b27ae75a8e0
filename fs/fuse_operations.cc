// SPDX-License-Identifier: Apache-2.0
// Trampolines: libfuse's callbacks → FileSystem. Each is noexcept and does nothing but translate.
#include "fs/fuse_operations.h"

#include <sys/file.h>

#include <algorithm>
#include <cerrno>

namespace layerfs {
namespace {

constexpr size_t kNameMax = 255;
// The defaults (12 and 9) throttle readahead and prefetching readers (linux fs/fuse/inode.c).
constexpr unsigned kMaxBackground = 256;
constexpr unsigned kCongestionThreshold = 192;
// One request carries at most 1 MiB: 256 pages, the kernel's default fs.fuse.max_pages_limit.
constexpr unsigned kMaxRequestBytes = 1U << 20;

FuseContext& Context(fuse_req_t request) {
  return *static_cast<FuseContext*>(fuse_req_userdata(request));
}
// For what the kernel or a monitor asks where nobody uses the mount.
FileSystem& IdleTarget(fuse_req_t request) { return *Context(request).file_system; }
FileSystem& Target(fuse_req_t request) {
  const FuseContext& context = Context(request);
  if (context.on_request) context.on_request();
  return *context.file_system;
}

Caller CallerOf(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  return Caller{context->uid, context->gid, context->pid, context->umask};
}

uint64_t HandleOf(const fuse_file_info* info) { return info != nullptr ? info->fh : 0; }

int32_t BackingIdOf([[maybe_unused]] const fuse_file_info* info) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  return info->backing_id;
#else
  return 0;
#endif
}

// Whether what follows has to clear setuid and setgid (FUSE_WRITE_KILL_SUIDGID and the like).
bool KillsPrivileges([[maybe_unused]] const fuse_file_info* info) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  return info->kill_suidgid != 0;
#else
  return false;
#endif
}

// The kernel sends names of up to 1024 bytes; a component has 255 at most, and ENAMETOOLONG comes
// before ENOENT.
bool RefuseLongName(fuse_req_t request, std::string_view name) {
  if (name.size() <= kNameMax) return false;
  fuse_reply_err(request, ENAMETOOLONG);
  return true;
}

void Want(fuse_conn_info* connection, uint64_t flag) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  fuse_set_feature_flag(connection, flag);
#else
  if ((connection->capable & flag) != 0) connection->want |= static_cast<unsigned>(flag);
#endif
}

void Unwant(fuse_conn_info* connection, uint64_t flag) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  fuse_unset_feature_flag(connection, flag);
#else
  connection->want &= ~static_cast<unsigned>(flag);
#endif
}

void Choose(fuse_conn_info* connection, uint64_t flag, bool wanted) {
  wanted ? Want(connection, flag) : Unwant(connection, flag);
}

void NegotiatePassthrough([[maybe_unused]] FuseContext& context,
                          [[maybe_unused]] fuse_conn_info* connection) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  // A session with write-back caching cannot pass through; a user's mount may not.
  const SessionWishes wishes = context.file_system->Wishes();
  if (!context.abilities.user_mount && !wishes.writeback_cache && wishes.passthrough &&
      fuse_set_feature_flag(connection, FUSE_CAP_PASSTHROUGH)) {
    // Backing files lie on a plain file system (on overlayfs they are refused: ELOOP), so that an
    // overlayfs may lie on this mount.
    connection->max_backing_stack_depth = 0;
    context.abilities.passthrough = true;
  }
#endif
#ifdef FUSE_CAP_OVER_IO_URING
  if (context.want_io_uring) {
    context.abilities.io_uring = fuse_set_feature_flag(connection, FUSE_CAP_OVER_IO_URING);
  }
#endif
}

void Init(void* userdata, fuse_conn_info* connection) noexcept {
  FuseContext& context = *static_cast<FuseContext*>(userdata);
  const SessionWishes wishes = context.file_system->Wishes();
  for (const uint64_t flag : {uint64_t{FUSE_CAP_EXPORT_SUPPORT}, uint64_t{FUSE_CAP_PARALLEL_DIROPS},
                              uint64_t{FUSE_CAP_ASYNC_READ}, uint64_t{FUSE_CAP_SPLICE_WRITE},
                              uint64_t{FUSE_CAP_SPLICE_MOVE}}) {
    Want(connection, flag);
  }
  if (wishes.readdirplus) {
    Want(connection, FUSE_CAP_READDIRPLUS);
    Unwant(connection, FUSE_CAP_READDIRPLUS_AUTO);
  }
  if (wishes.cache_symlinks) Want(connection, FUSE_CAP_CACHE_SYMLINKS);
  // The kernel takes ACL support for default_permissions (fs/fuse/inode.c, process_init_reply).
  if (wishes.posix_acl && context.kernel_checks) Want(connection, FUSE_CAP_POSIX_ACL);
  if (wishes.writeback_cache) Want(connection, FUSE_CAP_WRITEBACK_CACHE);
  // libfuse wants both as soon as there are callbacks; without them the kernel keeps locks itself.
  Choose(connection, FUSE_CAP_POSIX_LOCKS, wishes.posix_locks);
  Choose(connection, FUSE_CAP_FLOCK_LOCKS, wishes.flock_locks);
  if (wishes.writable) {
    Want(connection, FUSE_CAP_ATOMIC_O_TRUNC);
    Want(connection, FUSE_CAP_DONT_MASK);
  }
  Unwant(connection, FUSE_CAP_HANDLE_KILLPRIV);
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  // Else the kernel asks for security.capability before each write, and clears setuid itself. An
  // older libfuse does not pass on when it is our turn.
  Choose(connection, FUSE_CAP_HANDLE_KILLPRIV_V2, wishes.handle_killpriv);
#endif
  // Every change goes through this kernel, which knows what to drop then; a new mtime after our own
  // write is no reason to drop a file's pages.
  Choose(connection, FUSE_CAP_AUTO_INVAL_DATA, false);
  // The kernel waits for async direct I/O without heeding signals (fs/fuse/file.c, fuse_direct_IO):
  // a process killed while its read waits for the network would stay. The price is that an O_DIRECT
  // read of several requests sends them one after the other.
  Unwant(connection, FUSE_CAP_ASYNC_DIO);
  Unwant(connection, FUSE_CAP_SPLICE_READ);  // Writes are copied once into place anyway.
  context.abilities.no_open =
      wishes.no_open && (connection->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0;
  context.abilities.no_opendir =
      wishes.no_opendir && (connection->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0;
  connection->max_background = kMaxBackground;
  connection->congestion_threshold = kCongestionThreshold;
  connection->max_readahead =
      context.no_readahead ? 0 : std::min(connection->max_readahead, kMaxRequestBytes);
  connection->max_write = kMaxRequestBytes;
  NegotiatePassthrough(context, connection);
  context.agreed.With([&](SessionAbilities& agreed) { agreed = context.abilities; });
  context.file_system->Start(context.abilities, *context.notifier);
}

void Destroy(void* userdata) noexcept { static_cast<FuseContext*>(userdata)->file_system->Stop(); }

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  if (RefuseLongName(request, name)) return;
  Target(request).Lookup(CallerOf(request), parent, name, Reply(request));
}

void Forget(fuse_req_t request, fuse_ino_t node, uint64_t lookups) noexcept {
  IdleTarget(request).Forget(node, lookups);
  Reply(request).Forgotten();
}

void ForgetMulti(fuse_req_t request, size_t count, fuse_forget_data* forgets) noexcept {
  for (size_t i = 0; i < count; ++i) IdleTarget(request).Forget(forgets[i].ino, forgets[i].nlookup);
  Reply(request).Forgotten();
}

void GetAttributes(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) noexcept {
  Target(request).GetAttributes(CallerOf(request), node, HandleOf(info), Reply(request));
}

void SetAttributes(fuse_req_t request, fuse_ino_t node, struct stat* values, int to_set,
                   fuse_file_info* info) noexcept {
  AttributeChange change;
  change.values = *values;
  change.mode = (to_set & FUSE_SET_ATTR_MODE) != 0;
  change.uid = (to_set & FUSE_SET_ATTR_UID) != 0;
  change.gid = (to_set & FUSE_SET_ATTR_GID) != 0;
  change.size = (to_set & FUSE_SET_ATTR_SIZE) != 0;
  change.atime = (to_set & FUSE_SET_ATTR_ATIME) != 0;
  change.mtime = (to_set & FUSE_SET_ATTR_MTIME) != 0;
  change.ctime = (to_set & FUSE_SET_ATTR_CTIME) != 0;
  change.atime_now = (to_set & FUSE_SET_ATTR_ATIME_NOW) != 0;
  change.mtime_now = (to_set & FUSE_SET_ATTR_MTIME_NOW) != 0;
#ifdef FUSE_SET_ATTR_KILL_SUID
  change.kill_suid_gid = (to_set & (FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID)) != 0;
#endif
  Target(request).SetAttributes(CallerOf(request), node, change, HandleOf(info), Reply(request));
}

void ReadLink(fuse_req_t request, fuse_ino_t node) noexcept {
  Target(request).ReadLink(CallerOf(request), node, Reply(request));
}

void MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
              dev_t device) noexcept {
  if (RefuseLongName(request, name)) return;
  Target(request).MakeNode(CallerOf(request), parent, name, mode, device, Reply(request));
}

void MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
  if (RefuseLongName(request, name)) return;
  Target(request).MakeDirectory(CallerOf(request), parent, name, mode, Reply(request));
}

void Unlink(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  if (RefuseLongName(request, name)) return;
  Target(request).Unlink(CallerOf(request), parent, name, Reply(request));
}

void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  if (RefuseLongName(request, name)) return;
  Target(request).RemoveDirectory(CallerOf(request), parent, name, Reply(request));
}

void Symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) noexcept {
  if (RefuseLongName(request, name)) return;
  Target(request).Symlink(CallerOf(request), target, parent, name, Reply(request));
}

void Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) noexcept {
  if (RefuseLongName(request, name)) return;
  if (RefuseLongName(request, new_name)) return;
  Target(request).Rename(CallerOf(request), parent, name, new_parent, new_name, flags,
                         Reply(request));
}

void Link(fuse_req_t request, fuse_ino_t node, fuse_ino_t new_parent,
          const char* new_name) noexcept {
  if (RefuseLongName(request, new_name)) return;
  Target(request).Link(CallerOf(request), node, new_parent, new_name, Reply(request));
}

void Open(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) noexcept {
  if (KillsPrivileges(info)) Target(request).KillPrivileges(CallerOf(request), node);
  Target(request).Open(CallerOf(request), node, info->flags, Reply(request));
}

void Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) noexcept {
  if (RefuseLongName(request, name)) return;
  Target(request).Create(CallerOf(request), parent, name, mode, info->flags, Reply(request));
}

[[maybe_unused]] void TemporaryFile(fuse_req_t request, fuse_ino_t parent, mode_t mode,
                                    fuse_file_info* info) noexcept {
  Target(request).TemporaryFile(CallerOf(request), parent, mode, info->flags, Reply(request));
}

void Read(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset,
          fuse_file_info* info) noexcept {
  Target(request).Read(CallerOf(request), node, HandleOf(info), static_cast<uint64_t>(offset), size,
                       info != nullptr ? info->flags : 0, Reply(request));
}

void Write(fuse_req_t request, fuse_ino_t node, const char* data, size_t size, off_t offset,
           fuse_file_info* info) noexcept {
  if (KillsPrivileges(info)) Target(request).KillPrivileges(CallerOf(request), node);
  Target(request).Write(CallerOf(request), node, HandleOf(info), static_cast<uint64_t>(offset),
                        AsBytes({data, size}), info->writepage != 0, Reply(request));
}

void Flush(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) noexcept {
  Target(request).Flush(CallerOf(request), node, HandleOf(info), info->lock_owner, Reply(request));
}

void Release(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) noexcept {
  Target(request).Release(node, HandleOf(info), BackingIdOf(info), Reply(request));
}

void Sync(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info* info) noexcept {
  Target(request).Sync(CallerOf(request), node, HandleOf(info), data_only != 0, Reply(request));
}

void OpenDirectory(fuse_req_t request, fuse_ino_t node, fuse_file_info* /*info*/) noexcept {
  Target(request).OpenDirectory(CallerOf(request), node, Reply(request));
}

void ReadDirectory(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset,
                   fuse_file_info* info) noexcept {
  Target(request).ReadDirectory(CallerOf(request), node, HandleOf(info),
                                static_cast<uint64_t>(offset),
                                DirectoryBuffer(size, false, request), Reply(request));
}

void ReadDirectoryPlus(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset,
                       fuse_file_info* info) noexcept {
  Target(request).ReadDirectory(CallerOf(request), node, HandleOf(info),
                                static_cast<uint64_t>(offset), DirectoryBuffer(size, true, request),
                                Reply(request));
}

void ReleaseDirectory(fuse_req_t request, fuse_ino_t node, fuse_file_info* info) noexcept {
  Target(request).ReleaseDirectory(node, HandleOf(info), Reply(request));
}

void SyncDirectory(fuse_req_t request, fuse_ino_t node, int data_only,
                   fuse_file_info* info) noexcept {
  Target(request).SyncDirectory(CallerOf(request), node, HandleOf(info), data_only != 0,
                                Reply(request));
}

void Statfs(fuse_req_t request, fuse_ino_t node) noexcept {
  IdleTarget(request).Statfs(node, Reply(request));
}

void SetXattr(fuse_req_t request, fuse_ino_t node, const char* name, const char* value, size_t size,
              int flags) noexcept {
  Target(request).SetXattr(CallerOf(request), node, name, {value, size}, flags, Reply(request));
}

void GetXattr(fuse_req_t request, fuse_ino_t node, const char* name, size_t capacity) noexcept {
  Target(request).GetXattr(CallerOf(request), node, name, capacity, Reply(request));
}

void ListXattrs(fuse_req_t request, fuse_ino_t node, size_t capacity) noexcept {
  Target(request).ListXattrs(CallerOf(request), node, capacity, Reply(request));
}

void RemoveXattr(fuse_req_t request, fuse_ino_t node, const char* name) noexcept {
  Target(request).RemoveXattr(CallerOf(request), node, name, Reply(request));
}

void Access(fuse_req_t request, fuse_ino_t node, int mask) noexcept {
  Target(request).Access(CallerOf(request), node, mask, Reply(request));
}

void GetLock(fuse_req_t request, fuse_ino_t node, fuse_file_info* info,
             struct flock* lock) noexcept {
  Target(request).GetLock(CallerOf(request), node, HandleOf(info), info->lock_owner, *lock,
                          Reply(request));
}

void SetLock(fuse_req_t request, fuse_ino_t node, fuse_file_info* info, struct flock* lock,
             int sleep) noexcept {
  Target(request).SetLock(CallerOf(request), node, HandleOf(info), info->lock_owner, *lock,
                          sleep != 0, Reply(request));
}

void FlockFile(fuse_req_t request, fuse_ino_t node, fuse_file_info* info, int operation) noexcept {
  Target(request).FlockFile(CallerOf(request), node, HandleOf(info), info->lock_owner, operation,
                            Reply(request));
}

void Allocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t size,
              fuse_file_info* info) noexcept {
  Target(request).Allocate(CallerOf(request), node, HandleOf(info), mode,
                           static_cast<uint64_t>(offset), static_cast<uint64_t>(size),
                           Reply(request));
}

void CopyRange(fuse_req_t request, fuse_ino_t from, off_t from_offset, fuse_file_info* from_info,
               fuse_ino_t to, off_t to_offset, fuse_file_info* to_info, size_t size,
               int /*flags*/) noexcept {
  Target(request).CopyRange(CallerOf(request), from, HandleOf(from_info),
                            static_cast<uint64_t>(from_offset), to, HandleOf(to_info),
                            static_cast<uint64_t>(to_offset), size, Reply(request));
}

void Seek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence,
          fuse_file_info* info) noexcept {
  Target(request).Seek(CallerOf(request), node, HandleOf(info), static_cast<uint64_t>(offset),
                       whence, Reply(request));
}

fuse_lowlevel_ops MakeOperations() {
  fuse_lowlevel_ops operations{};
  operations.init = Init;
  operations.destroy = Destroy;
  operations.lookup = Lookup;
  operations.forget = Forget;
  operations.forget_multi = ForgetMulti;
  operations.getattr = GetAttributes;
  operations.setattr = SetAttributes;
  operations.readlink = ReadLink;
  operations.mknod = MakeNode;
  operations.mkdir = MakeDirectory;
  operations.unlink = Unlink;
  operations.rmdir = RemoveDirectory;
  operations.symlink = Symlink;
  operations.rename = Rename;
  operations.link = Link;
  operations.open = Open;
  operations.create = Create;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 15)
  operations.tmpfile = TemporaryFile;
#endif
  operations.read = Read;
  operations.write = Write;
  operations.flush = Flush;
  operations.release = Release;
  operations.fsync = Sync;
  operations.opendir = OpenDirectory;
  operations.readdir = ReadDirectory;
  operations.readdirplus = ReadDirectoryPlus;
  operations.releasedir = ReleaseDirectory;
  operations.fsyncdir = SyncDirectory;
  operations.statfs = Statfs;
  operations.setxattr = SetXattr;
  operations.getxattr = GetXattr;
  operations.listxattr = ListXattrs;
  operations.removexattr = RemoveXattr;
  operations.access = Access;
  operations.getlk = GetLock;
  operations.setlk = SetLock;
  operations.flock = FlockFile;
  operations.fallocate = Allocate;
  operations.copy_file_range = CopyRange;
  operations.lseek = Seek;
  return operations;
}

}  // namespace

const fuse_lowlevel_ops kFuseOperations = MakeOperations();

void OnFuseInterrupt(fuse_req_t request, void* data) {
  // libfuse clears the token when the request is answered, and may call with what is left.
  if (data != nullptr) IdleTarget(request).Interrupt(reinterpret_cast<uint64_t>(data));
}

}  // namespace layerfs

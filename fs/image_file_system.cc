// SPDX-License-Identifier: Apache-2.0
#include "fs/image_file_system.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <unordered_map>

#include "fs/caller_identity.h"
#include "fs/image_attributes.h"
#include "fs/startup_pusher.h"
#include "index/base/log.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

constexpr uint64_t kBlockBytes = 4096;
// Directory offsets: "." and ".." come first, and 0 means the start.
constexpr uint64_t kFirstEntryOffset = 2;

// How an inode is open at this moment. The kernel refuses a passthrough open of an inode that is
// open in cached mode and the reverse, and two backing files for one inode.
struct OpenInode {
  uint32_t cached_opens = 0;
  uint32_t passthrough_opens = 0;
  int32_t backing_id = 0;
};

constexpr std::string_view kLabel = "security.selinux";
constexpr std::string_view kAcls[] = {"system.posix_acl_access", "system.posix_acl_default"};

// Names outside the namespaces of xattr(7) are not missing but impossible.
bool HasXattrNamespace(std::string_view name) {
  constexpr std::string_view kNamespaces[] = {"user.", "trusted.", "security.", "system."};
  return std::ranges::any_of(kNamespaces,
                             [&](std::string_view ns) { return name.starts_with(ns); });
}

using OpenInodes = std::unordered_map<uint32_t, OpenInode>;

}  // namespace

struct ImageFileSystem::State {
  State(std::shared_ptr<Image> image_in, FileReader& reader_in, Options options_in)
      : image(std::move(image_in)),
        tree(image->tree()),
        reader(reader_in),
        options(std::move(options_in)) {
    if (image->startup() != nullptr) {
      pusher.emplace(image->startup(), [this](InodeNumber file) { return tree.Get(file).size; });
    }
  }

  std::shared_ptr<Image> image;
  const Index& tree;
  // Whether any file has a label, or an ACL. Where none has, whoever asks for one hears that there
  // are none here: `ls -l` asks for each file until it does. (Without ACLs in the session the
  // kernel itself asks for none, nor does an overlayfs on top.)
  const bool labelled = tree.HasXattrNamed(kLabel);
  const bool has_acls = std::ranges::any_of(
      kAcls, [this](std::string_view name) { return tree.HasXattrNamed(name); });

  bool Supports(std::string_view xattr) const {
    if (xattr == kLabel) return labelled;
    if (std::ranges::find(kAcls, xattr) != std::end(kAcls)) return has_acls;
    return HasXattrNamespace(xattr);
  }
  FileReader& reader;
  const Options options;
  std::atomic<bool> passthrough{false};
  // Instead of passthrough: opening a file that the kernel knows then asks nobody.
  bool no_open = false;
  bool no_opendir = false;
  Notifier* notifier = nullptr;
  Synchronized<OpenInodes> open_inodes;
  std::optional<StartupPusher> pusher;

  // Whether opening a file may put what the startup pack has of it into the page cache.
  bool StartsUp() const { return pusher.has_value() && !pusher->settled(); }
  // With a backing file, the page cache is that file's.
  bool MayPush(InodeNumber number) const {
    return StartsUp() && !(passthrough && reader.WholeObject(number) != nullptr);
  }

  bool Contains(NodeId node) const {
    return node <= UINT32_MAX && tree.Contains(InodeNumber{static_cast<uint32_t>(node)});
  }
  static InodeNumber ToInode(NodeId node) { return InodeNumber{static_cast<uint32_t>(node)}; }

  struct stat Stat(InodeNumber number) const { return ImageAttributes(tree, number); }

  EntryReply Entry(InodeNumber number) const {
    EntryReply entry;
    entry.node = ToUint(number);
    entry.attributes = Stat(number);
    entry.attribute_seconds = kForeverSeconds;
    entry.entry_seconds = kForeverSeconds;
    return entry;
  }

  // Tries to open `number` with a backing file; false: open it in cached mode.
  bool OpenPassthrough(InodeNumber number, OpenReply& opened) {
    if (!passthrough) return false;
    // An open that is under way decides for those behind it; registering is an ioctl, not I/O.
    const bool joined = open_inodes.With([&](OpenInodes& inodes) {
      const auto it = inodes.find(ToUint(number));
      if (it == inodes.end() || it->second.backing_id == 0) return false;
      ++it->second.passthrough_opens;
      opened.backing_id = it->second.backing_id;
      return true;
    });
    if (joined) return true;
    std::shared_ptr<CachedObject> object = reader.WholeObject(number);
    if (object == nullptr) return false;
    // The kernel's reference to the file keeps its in-use mark too: nobody evicts it, and an open
    // file costs no descriptor here.
    const int id = notifier->RegisterBackingFile(object->fd());
    if (id < 0) {
      // EPERM: not privileged; ELOOP: the cache lies on a stacked file system. Neither will change.
      LogDebug("passthrough is not possible here: errno " + std::to_string(-id));
      if (id == -EPERM || id == -ELOOP) passthrough = false;
      return false;
    }
    int unused_id = id;
    const bool opened_so = open_inodes.With([&](OpenInodes& inodes) {
      OpenInode& inode = inodes[ToUint(number)];
      if (inode.cached_opens > 0) return false;
      if (inode.backing_id == 0) {
        inode.backing_id = id;
        unused_id = 0;
      }
      ++inode.passthrough_opens;
      opened.backing_id = inode.backing_id;
      return true;
    });
    if (unused_id != 0) notifier->UnregisterBackingFile(unused_id);
    return opened_so;
  }

  // False where a passthrough open came first: join it instead.
  bool OpenCached(InodeNumber number) {
    return open_inodes.With([&](OpenInodes& inodes) {
      OpenInode& inode = inodes[ToUint(number)];
      if (inode.passthrough_opens > 0) return false;
      ++inode.cached_opens;
      return true;
    });
  }

  void Close(InodeNumber number, bool was_passthrough) {
    OpenInode closed;
    open_inodes.With([&](OpenInodes& inodes) {
      const auto it = inodes.find(ToUint(number));
      if (it == inodes.end()) return;
      OpenInode& inode = it->second;
      uint32_t& opens = was_passthrough ? inode.passthrough_opens : inode.cached_opens;
      if (opens > 0) --opens;
      if (inode.passthrough_opens + inode.cached_opens > 0) return;
      closed = inode;
      inodes.erase(it);
    });
    if (closed.backing_id > 0) notifier->UnregisterBackingFile(closed.backing_id);
  }
};

ImageFileSystem::ImageFileSystem(std::shared_ptr<Image> image, FileReader& reader, Options options)
    : state_(std::make_unique<State>(std::move(image), reader, std::move(options))) {}
ImageFileSystem::~ImageFileSystem() = default;

SessionWishes ImageFileSystem::Wishes() const {
  SessionWishes wishes;
  wishes.cache_symlinks = true;
  wishes.posix_acl = state_->options.posix_acl && state_->has_acls;
  wishes.no_open = true;
  wishes.no_opendir = true;
  wishes.passthrough = state_->options.passthrough;
  return wishes;
}

void ImageFileSystem::Start(const SessionAbilities& abilities, Notifier& notifier) {
  state_->notifier = &notifier;
  state_->passthrough = abilities.passthrough && state_->options.passthrough;
  state_->no_open = abilities.no_open && !state_->passthrough;
  state_->no_opendir = abilities.no_opendir;
  if (state_->pusher.has_value()) state_->pusher->Start(notifier);
}

// What waits for the network is answered while there is a session to answer through.
void ImageFileSystem::Stop() {
  // First the reads: a push may wait for a page that is being read.
  state_->reader.CancelAll();
  if (state_->pusher.has_value()) state_->pusher->Stop();
}

void ImageFileSystem::Interrupt(uint64_t token) { state_->reader.Cancel(token); }

void ImageFileSystem::Lookup(const Caller& /*caller*/, NodeId parent, std::string_view name,
                             Reply reply) {
  if (!state_->Contains(parent)) return reply.Errno(ESTALE);
  const InodeNumber directory = State::ToInode(parent);
  if (name == ".") return reply.Entry(state_->Entry(directory));
  if (name == "..") return reply.Entry(state_->Entry(state_->tree.Get(directory).parent));
  const std::optional<Dirent> found = state_->tree.Lookup(directory, name);
  if (found.has_value()) {
    if (state_->options.on_lookup) state_->options.on_lookup(found->inode);
    return reply.Entry(state_->Entry(found->inode));
  }
  EntryReply negative;
  negative.entry_seconds = kForeverSeconds;
  reply.Entry(negative);
}

void ImageFileSystem::GetAttributes(const Caller& /*caller*/, NodeId node, uint64_t /*handle*/,
                                    Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  reply.Attributes(state_->Stat(State::ToInode(node)), kForeverSeconds);
}

void ImageFileSystem::ReadLink(const Caller& /*caller*/, NodeId node, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  if (!state_->tree.Get(State::ToInode(node)).is_symlink()) return reply.Errno(EINVAL);
  reply.Target(std::string(state_->tree.Target(State::ToInode(node))));
}

void ImageFileSystem::Open(const Caller& /*caller*/, NodeId node, int flags, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) return reply.Errno(EROFS);
  const InodeNumber number = State::ToInode(node);
  if (!state_->MayPush(number)) return OpenNow(number, std::move(reply));
  // std::function wants what can be copied, and a Reply cannot.
  const auto shared = std::make_shared<Reply>(std::move(reply));
  state_->pusher->BeforeOpen(number,
                             [this, number, shared] { OpenNow(number, std::move(*shared)); });
}

void ImageFileSystem::OpenNow(InodeNumber number, Reply reply) {
  if (state_->no_open && !state_->StartsUp()) return reply.Errno(ENOSYS);
  OpenReply opened;
  opened.keep_cache = true;
  opened.no_flush = true;
  // The loop ends: an open that is neither joined nor made is one of two that raced, and the
  // other's mode stands.
  while (!state_->OpenPassthrough(number, opened) && !state_->OpenCached(number)) {
  }
  opened.handle = opened.backing_id > 0 ? 1 : 0;
  reply.Open(opened);
}

void ImageFileSystem::Read(const Caller& /*caller*/, NodeId node, uint64_t /*handle*/,
                           uint64_t offset, size_t size, int /*flags*/, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  const FileReader::ReadId id = state_->reader.NewReadId();
  reply.SetInterruptToken(id);
  // std::function wants what can be copied, and a Reply cannot.
  auto shared = std::make_shared<Reply>(std::move(reply));
  state_->reader.Read(id, State::ToInode(node), offset, size, [shared](Result<ByteSpan> bytes) {
    if (bytes.has_value()) {
      shared->Data(*bytes);
    } else {
      shared->Fail(bytes.error());
    }
  });
}

void ImageFileSystem::Release(NodeId node, uint64_t handle, int32_t /*backing_id*/, Reply reply) {
  if (state_->Contains(node)) state_->Close(State::ToInode(node), handle == 1);
  reply.Errno(0);
}

void ImageFileSystem::OpenDirectory(const Caller& /*caller*/, NodeId node, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  if (state_->no_opendir) return reply.Errno(ENOSYS);
  OpenReply opened;
  opened.keep_cache = true;
  opened.cache_directory = true;
  reply.Open(opened);
}

void ImageFileSystem::ReadDirectory(const Caller& /*caller*/, NodeId node, uint64_t /*handle*/,
                                    uint64_t offset, DirectoryBuffer buffer, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  const InodeNumber directory = State::ToInode(node);
  const Inode inode = state_->tree.Get(directory);
  if (!inode.is_directory()) return reply.Errno(ENOTDIR);
  const auto add_dot = [&](std::string_view name, InodeNumber number, uint64_t next) {
    EntryReply entry = state_->Entry(number);
    if (buffer.plus()) entry.node = 0;  // "." and ".." are not looked up.
    return buffer.Add(name, entry, next);
  };
  bool room = true;
  if (offset == 0) room = add_dot(".", directory, 1);
  if (room && offset <= 1) room = add_dot("..", inode.parent, kFirstEntryOffset);
  uint64_t position = offset < kFirstEntryOffset ? 0 : offset - kFirstEntryOffset;
  for (; room && position < inode.entry_count; ++position) {
    const Dirent entry = state_->tree.EntryAt(directory, static_cast<uint32_t>(position));
    room = buffer.Add(entry.name, state_->Entry(entry.inode), position + kFirstEntryOffset + 1);
  }
  reply.Directory(buffer);
}

void ImageFileSystem::ReleaseDirectory(NodeId /*node*/, uint64_t /*handle*/, Reply reply) {
  reply.Errno(0);
}

void ImageFileSystem::Statfs(NodeId /*node*/, Reply reply) {
  struct statvfs statistics{};
  statistics.f_bsize = kBlockBytes;
  statistics.f_frsize = kBlockBytes;
  statistics.f_blocks = AlignUp(state_->tree.total_file_bytes(), kBlockBytes) / kBlockBytes;
  statistics.f_files = state_->tree.inode_count();
  statistics.f_namemax = 255;
  statistics.f_flag = ST_RDONLY;
  reply.Statfs(statistics);
}

void ImageFileSystem::GetXattr(const Caller& /*caller*/, NodeId node, std::string_view name,
                               size_t capacity, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  const auto value = state_->tree.FindXattr(State::ToInode(node), name);
  if (!value.has_value()) return reply.Errno(state_->Supports(name) ? ENODATA : EOPNOTSUPP);
  if (!state_->options.ids.Concern(name)) return reply.XattrBytes(*value, capacity);
  reply.XattrBytes(state_->options.ids.AclHere(*value), capacity);
}

void ImageFileSystem::ListXattrs(const Caller& caller, NodeId node, size_t capacity, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  std::string names;
  for (const Xattr& xattr : state_->tree.Xattrs(State::ToInode(node))) {
    // As on a disk (xattr(7)).
    if (xattr.name.starts_with("trusted.") && !IsCapable(caller.pid, CAP_SYS_ADMIN)) continue;
    names += xattr.name;
    names.push_back('\0');
  }
  reply.XattrBytes(names, capacity);
}

void ImageFileSystem::Seek(const Caller& /*caller*/, NodeId node, uint64_t /*handle*/,
                           uint64_t offset, int whence, Reply reply) {
  if (!state_->Contains(node)) return reply.Errno(ESTALE);
  const InodeNumber number = State::ToInode(node);
  const uint64_t size = state_->tree.Get(number).size;
  if (offset >= size) return reply.Errno(ENXIO);
  uint64_t at = offset;
  for (const DataExtent& extent : state_->tree.DataExtents(number, offset, size - offset)) {
    if (whence == SEEK_DATA) return reply.Offset(static_cast<off_t>(extent.file_offset));
    if (extent.file_offset > at) break;  // A hole before this extent.
    at = extent.file_offset + extent.size;
  }
  if (whence == SEEK_DATA) return reply.Errno(ENXIO);
  reply.Offset(static_cast<off_t>(at));
}

}  // namespace layerfs

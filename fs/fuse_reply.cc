// SPDX-License-Identifier: Apache-2.0
// Reply and DirectoryBuffer over libfuse's low-level API.
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <cerrno>
#include <string>

#include "fs/errno.h"
#include "fs/fuse_operations.h"
#include "fs/reply.h"

namespace layerfs {
namespace {

fuse_req_t Request(void* request) { return static_cast<fuse_req_t>(request); }

fuse_entry_param ToFuse(const EntryReply& entry) {
  fuse_entry_param param{};
  param.ino = entry.node;
  param.generation = entry.generation;
  param.attr = entry.attributes;
  param.attr_timeout = entry.attribute_seconds;
  param.entry_timeout = entry.entry_seconds;
  return param;
}

fuse_file_info ToFuse(const OpenReply& opened) {
  fuse_file_info info{};
  info.fh = opened.handle;
  // Beside passthrough the kernel refuses it with EIO (fs/fuse/iomode.c, FOPEN_PASSTHROUGH_MASK):
  // there are no cached pages to keep.
  info.keep_cache = opened.keep_cache && opened.backing_id == 0 ? 1 : 0;
  info.direct_io = opened.direct_io ? 1 : 0;
  info.cache_readdir = opened.cache_directory ? 1 : 0;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 15)
  info.parallel_direct_writes = opened.parallel_direct_writes ? 1 : 0;
#endif
  info.noflush = opened.no_flush ? 1 : 0;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  info.backing_id = opened.backing_id;
#endif
  return info;
}

}  // namespace

bool DirectoryBuffer::Add(std::string_view name, const EntryReply& entry, uint64_t next) {
  const std::string terminated(name);
  const size_t used = bytes_.size();
  const size_t room = capacity_ - used;
  auto* const request = Request(request_);
  const fuse_entry_param param = ToFuse(entry);
  const auto add = [&](char* at, size_t size) {
    return plus_ ? fuse_add_direntry_plus(request, at, size, terminated.c_str(), &param,
                                          static_cast<off_t>(next))
                 : fuse_add_direntry(request, at, size, terminated.c_str(), &param.attr,
                                     static_cast<off_t>(next));
  };
  const size_t needed = add(nullptr, 0);
  if (needed > room) return false;
  bytes_.resize(used + needed);
  add(reinterpret_cast<char*>(bytes_.data() + used), needed);
  return true;
}

void Reply::Errno(int system_errno) { fuse_reply_err(Request(Take()), system_errno); }
void Reply::Fail(const Error& error) { Errno(ErrnoOf(error)); }

void Reply::Entry(const EntryReply& entry) {
  const fuse_entry_param param = ToFuse(entry);
  fuse_reply_entry(Request(Take()), &param);
}

void Reply::Attributes(const struct stat& attributes, double seconds) {
  fuse_reply_attr(Request(Take()), &attributes, seconds);
}

void Reply::Open(const OpenReply& opened) {
  const fuse_file_info info = ToFuse(opened);
  fuse_reply_open(Request(Take()), &info);
}

void Reply::Create(const EntryReply& entry, const OpenReply& opened) {
  const fuse_entry_param param = ToFuse(entry);
  const fuse_file_info info = ToFuse(opened);
  fuse_reply_create(Request(Take()), &param, &info);
}

void Reply::Data(ByteSpan bytes) {
  fuse_reply_buf(Request(Take()), reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void Reply::DataFromFile(int fd, uint64_t offset, size_t size) {
  fuse_bufvec vector = FUSE_BUFVEC_INIT(size);
  vector.buf[0].flags = static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK);
  vector.buf[0].fd = fd;
  vector.buf[0].pos = static_cast<off_t>(offset);
  fuse_reply_data(Request(Take()), &vector, FUSE_BUF_SPLICE_MOVE);
}

void Reply::Written(size_t bytes) { fuse_reply_write(Request(Take()), bytes); }
void Reply::Target(const std::string& target) {
  fuse_reply_readlink(Request(Take()), target.c_str());
}
void Reply::Statfs(const struct statvfs& statistics) {
  fuse_reply_statfs(Request(Take()), &statistics);
}

void Reply::XattrBytes(std::string_view value, size_t capacity) {
  if (capacity == 0) {
    fuse_reply_xattr(Request(Take()), value.size());
  } else if (value.size() > capacity) {
    Errno(ERANGE);
  } else {
    Data(AsBytes(value));
  }
}

void Reply::Directory(const DirectoryBuffer& buffer) { Data(buffer.bytes()); }
void Reply::Lock(const struct flock& lock) { fuse_reply_lock(Request(Take()), &lock); }
void Reply::Offset(off_t offset) { fuse_reply_lseek(Request(Take()), offset); }
void Reply::Forgotten() { fuse_reply_none(Request(Take())); }

void Reply::SetInterruptToken(uint64_t token) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): libfuse hands it back as it is.
  fuse_req_interrupt_func(Request(request_), OnFuseInterrupt, reinterpret_cast<void*>(token));
}

}  // namespace layerfs

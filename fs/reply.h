// SPDX-License-Identifier: Apache-2.0
// Reply: the answer to one file-system request. It owns the request, answers it once, and answers
// EIO if it is destroyed unanswered. It can be moved into a completion and answered from any
// thread. One thread at a time.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

// How a node is known to the kernel; 1 is the root, 0 nobody.
using NodeId = uint64_t;
inline constexpr NodeId kRootNode = 1;

// "For ever", for what can never change.
inline constexpr double kForeverSeconds = 1e9;

struct EntryReply {
  NodeId node = 0;  // 0 with a timeout: a negative entry, which the kernel remembers
  uint64_t generation = 0;
  struct stat attributes{};
  double attribute_seconds = 0;
  double entry_seconds = 0;
};

// An opened file or directory.
struct OpenReply {
  uint64_t handle = 0;
  bool keep_cache = false;
  bool direct_io = false;
  bool cache_directory = false;
  bool parallel_direct_writes = false;
  bool no_flush = false;
  int32_t backing_id = 0;  // > 0: passthrough to the backing file registered with Notifier
};

// The entries of one readdir reply, filled up to the kernel's buffer size.
class DirectoryBuffer {
 public:
  // `plus`: the kernel asked for attributes as well.
  DirectoryBuffer(size_t capacity, bool plus, void* request)
      : capacity_(capacity), plus_(plus), request_(request) {}

  // False when it does not fit: stop there. `next` is the offset with which reading goes on behind
  // this entry. Of `entry`, a plain readdir uses the inode number and type of the attributes only.
  bool Add(std::string_view name, const EntryReply& entry, uint64_t next);
  bool plus() const { return plus_; }
  ByteSpan bytes() const { return bytes_; }

 private:
  const size_t capacity_;
  const bool plus_;
  void* const request_;  // what libfuse lays the entries out for
  Bytes bytes_;
};

class Reply {
 public:
  explicit Reply(void* request) : request_(request) {}
  Reply(Reply&& other) noexcept : request_(std::exchange(other.request_, nullptr)) {}
  Reply& operator=(Reply&&) = delete;
  ~Reply() {
    if (request_ != nullptr) Errno(EIO);
  }

  // Exactly one of these, the one that fits the request; Errno(0) is plain success.
  void Errno(int system_errno);
  void Fail(const Error& error);  // ErrnoOf(error), fs/errno.h
  void Entry(const EntryReply& entry);
  void Attributes(const struct stat& attributes, double seconds);
  void Open(const OpenReply& opened);
  void Create(const EntryReply& entry, const OpenReply& opened);
  void Data(ByteSpan bytes);
  // `size` bytes of `fd` from `offset`, spliced where the kernel can.
  void DataFromFile(int fd, uint64_t offset, size_t size);
  void Written(size_t bytes);
  void Target(const std::string& target);  // of a symlink
  void Statfs(const struct statvfs& statistics);
  // A getxattr or listxattr answer: the size where `capacity` is 0, ERANGE where it is too small.
  void XattrBytes(std::string_view value, size_t capacity);
  void Directory(const DirectoryBuffer& buffer);
  void Lock(const struct flock& lock);
  void Offset(off_t offset);
  void Forgotten();  // forget has no answer

  // The request's own handle, for the edge.
  void* request() const { return request_; }
  // When the caller is interrupted, FileSystem::Interrupt(token) is called, from another thread and
  // perhaps after the answer. Set it before the work begins that may answer.
  void SetInterruptToken(uint64_t token);

 private:
  void* Take() { return std::exchange(request_, nullptr); }
  void* request_;
};

}  // namespace layerfs

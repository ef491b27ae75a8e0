// SPDX-License-Identifier: Apache-2.0
// ArchiveIndex: where the members of a tar file lie in it, so that each can be read by offset. The
// only door to libarchive. A compressed archive is decompressed into an unnamed temporary file
// first.
// Immutable after Open; thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

struct ArchiveMember {
  uint64_t offset = 0;  // of its content, in fd()
  uint64_t size = 0;
};

class ArchiveIndex {
 public:
  static Result<ArchiveIndex> Open(const std::string& path);

  // A regular file by its name without a leading "./"; links inside the archive are followed.
  Result<ArchiveMember> Find(const std::string& name) const;
  bool Has(const std::string& name) const { return entries_.contains(name); }
  // At most `limit` bytes of a member; a larger one is kTooLarge.
  Result<Bytes> Read(const std::string& name, uint64_t limit) const;
  int fd() const { return fd_.get(); }

 private:
  struct Entry {
    ArchiveMember member;
    std::string link;  // where it leads, as a name in the archive; empty: a regular file
  };
  Status Decompress(const std::string& path);
  Result<bool> List(const std::string& path);

  UniqueFd fd_;
  std::map<std::string, Entry> entries_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Files on the local disk: owned descriptors, whole reads and writes at an offset, files that
// appear whole or not at all, and read-only mappings.
// Free functions and MappedFile are thread-safe; UniqueFd is one thread at a time.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC added; the error names the path.
Result<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode = 0644);
Result<UniqueFd> OpenFileAt(int directory_fd, const std::string& name, int flags,
                            mode_t mode = 0644);

// Reads exactly out.size() bytes at `offset`; a shorter file is kCorrupt. Retries EINTR.
Status ReadFullAt(int fd, uint64_t offset, MutableByteSpan out);
Status WriteFullAt(int fd, uint64_t offset, ByteSpan data);
Status WriteFull(int fd, ByteSpan data);
// The size by fstat.
Result<uint64_t> FileSize(int fd);

// The whole file, at most `limit` bytes; a larger one is kTooLarge.
Result<Bytes> ReadFile(const std::string& path, uint64_t limit);

// Writes `data` to a temporary file beside `path`, then renames it over `path`. With `durable` the
// file and its directory are synced first, so that it survives a power cut too. Readers see the
// old file or the new one, never a part.
struct WriteFileOptions {
  mode_t mode = 0644;
  bool durable = false;
};
Status WriteFileAtomically(const std::string& path, ByteSpan data, WriteFileOptions options = {});

// Where big files that nobody names may lie: TMPDIR, or /var/tmp.
std::string SpoolDirectory();
// A file without a name there, open for reading and writing.
Result<UniqueFd> OpenUnnamedFile(const std::string& directory);

// mkdir -p; an existing directory is success.
Status MakeDirectories(const std::string& path, mode_t mode = 0755);

// A read-only private mapping of a whole file. Pages can be given back with DropResident and come
// again when touched.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);
  static Result<MappedFile> Map(const UniqueFd& fd, const std::string& name_for_errors);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  ByteSpan bytes() const { return bytes_; }
  void DropResident() const;

 private:
  ByteSpan bytes_;
};

}  // namespace layerfs

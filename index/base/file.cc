// SPDX-License-Identifier: Apache-2.0
#include "index/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "index/base/environment.h"

namespace layerfs {

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode) {
  return OpenFileAt(AT_FDCWD, path, flags, mode);
}

Result<UniqueFd> OpenFileAt(int directory_fd, const std::string& name, int flags, mode_t mode) {
  const int fd = ::openat(directory_fd, name.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return FailErrno(name, errno);
  return UniqueFd(fd);
}

Status ReadFullAt(int fd, uint64_t offset, MutableByteSpan out) {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return FailErrno("read", errno);
    }
    if (got == 0) return Fail(ErrorCode::kCorrupt, "the file ends at " + std::to_string(offset));
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

Status WriteFullAt(int fd, uint64_t offset, ByteSpan data) {
  while (!data.empty()) {
    const ssize_t put = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      return FailErrno("write", errno);
    }
    offset += static_cast<uint64_t>(put);
    data = data.subspan(static_cast<size_t>(put));
  }
  return {};
}

Status WriteFull(int fd, ByteSpan data) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      return FailErrno("write", errno);
    }
    data = data.subspan(static_cast<size_t>(put));
  }
  return {};
}

Result<uint64_t> FileSize(int fd) {
  struct stat attributes;
  if (::fstat(fd, &attributes) != 0) return FailErrno("fstat", errno);
  return static_cast<uint64_t>(attributes.st_size);
}

Result<Bytes> ReadFile(const std::string& path, uint64_t limit) {
  LAYERFS_TRY(fd, OpenFile(path, O_RDONLY));
  Bytes contents;
  constexpr size_t kStep = 64 * 1024;
  size_t size = 0;
  while (true) {
    contents.resize(size + kStep);
    const ssize_t got = ::read(fd.get(), contents.data() + size, kStep);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(path, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size > limit) {
      return Fail(ErrorCode::kTooLarge, path + ": more than " + std::to_string(limit) + " bytes");
    }
  }
  contents.resize(size);
  contents.shrink_to_fit();  // Some keep it for as long as they live.
  return contents;
}

Status WriteFileAtomically(const std::string& path, ByteSpan data, WriteFileOptions options) {
  static std::atomic<uint64_t> sequence{0};
  const std::string temporary =
      path + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(sequence.fetch_add(1));
  LAYERFS_TRY(fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, options.mode));
  Status written = WriteFull(fd.get(), data);
  if (written.has_value() && options.durable && ::fsync(fd.get()) != 0) {
    written = FailErrno("fsync", errno);
  }
  if (written.has_value() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = FailErrno("rename", errno);
  }
  if (!written.has_value()) {
    ::unlink(temporary.c_str());
    return Fail(std::move(written).error().In(path));
  }
  if (options.durable) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    LAYERFS_TRY(directory, OpenFile(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY));
    if (::fsync(directory.get()) != 0) return FailErrno(parent, errno);
  }
  return {};
}

Status MakeDirectories(const std::string& path, mode_t mode) {
  size_t end = 0;
  while (end != std::string::npos) {
    end = path.find('/', end + 1);
    const std::string prefix = path.substr(0, end);
    if (prefix.empty()) continue;
    if (::mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST) {
      const int mkdir_errno = errno;
      struct stat attributes;
      if (::stat(prefix.c_str(), &attributes) == 0 && S_ISDIR(attributes.st_mode)) continue;
      return FailErrno(prefix, mkdir_errno);
    }
  }
  struct stat attributes;
  if (::stat(path.c_str(), &attributes) != 0) return FailErrno(path, errno);
  if (!S_ISDIR(attributes.st_mode)) return FailErrno(path, ENOTDIR);
  return {};
}

std::string SpoolDirectory() { return Environment("TMPDIR").value_or("/var/tmp"); }

Result<UniqueFd> OpenUnnamedFile(const std::string& directory) {
  auto unnamed = OpenFile(directory, O_TMPFILE | O_RDWR, 0600);
  if (unnamed.has_value()) return unnamed;
  // For file systems that cannot do that: a name that goes at once.
  std::string name = directory + "/layerfs-XXXXXX";
  UniqueFd fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd.valid()) return FailErrno("temporary file in " + directory, errno);
  if (::unlink(name.c_str()) != 0) return FailErrno(name, errno);
  return fd;
}

Result<MappedFile> MappedFile::Open(const std::string& path) {
  LAYERFS_TRY(fd, OpenFile(path, O_RDONLY));
  return Map(fd, path);
}

Result<MappedFile> MappedFile::Map(const UniqueFd& fd, const std::string& name_for_errors) {
  LAYERFS_TRY_IN(size, FileSize(fd.get()), name_for_errors);
  MappedFile mapped;
  if (size == 0) return mapped;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) return FailErrno(name_for_errors, errno);
  mapped.bytes_ = ByteSpan(static_cast<const uint8_t*>(address), size);
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
}

void MappedFile::DropResident() const {
  if (!bytes_.empty()) {
    ::madvise(const_cast<uint8_t*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
  }
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/run/root_directory.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ranges>

namespace layerfs {
namespace {

// Far beyond any real /etc/passwd; a bound for what is read into memory.
constexpr uint64_t kMaxAccountFileBytes = uint64_t{16} << 20;

constexpr mode_t kFileMode = 0644;

bool operator==(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The clean absolute path's ancestors from the top, and itself.
std::vector<std::string> Prefixes(const std::string& path) {
  std::vector<std::string> prefixes;
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    prefixes.push_back(path.substr(0, at));
  }
  if (path != "/") prefixes.push_back(path);
  return prefixes;
}

}  // namespace

Result<RootDirectory> RootDirectory::Open(const std::string& path) {
  LAYERFS_TRY(fd, OpenFile(path, O_PATH | O_DIRECTORY));
  return RootDirectory(std::move(fd), path);
}

Result<UniqueFd> RootDirectory::OpenAt(const std::string& path, int flags) const {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  while (true) {
    const long fd = ::syscall(SYS_openat2, fd_.get(), path.c_str(), &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    // EAGAIN: somebody renames a directory on the way (openat2(2)).
    if (errno != EINTR && errno != EAGAIN) return FailErrno("container's " + path, errno);
  }
}

Result<std::optional<Bytes>> RootDirectory::ReadFile(const std::string& path,
                                                     uint64_t limit) const {
  // Not blocking: an image may have a FIFO there.
  auto opened = OpenAt(path, O_RDONLY | O_NONBLOCK);
  if (!opened.has_value()) {
    const int error = opened.error().system_errno;
    if (error == ENOENT || error == ENOTDIR) return std::optional<Bytes>();
    return Fail(std::move(opened).error());
  }
  struct stat attributes;
  if (::fstat(opened->get(), &attributes) != 0) return FailErrno("container's " + path, errno);
  if (!S_ISREG(attributes.st_mode)) {
    return Fail(ErrorCode::kCorrupt, "container's " + path + ": is not a regular file");
  }
  const auto size = static_cast<uint64_t>(attributes.st_size);
  if (size > limit) {
    return Fail(ErrorCode::kTooLarge, "container's " + path + ": has " + std::to_string(size) +
                                          " bytes; the limit is " + std::to_string(limit));
  }
  Bytes bytes(size);
  LAYERFS_CHECK_OK_IN(ReadFullAt(opened->get(), 0, bytes), "container's " + path);
  return std::optional<Bytes>(std::move(bytes));
}

Result<ImageUser> RootDirectory::FindUser(std::string_view text) const {
  LAYERFS_TRY(passwd, ReadFile("/etc/passwd", kMaxAccountFileBytes));
  LAYERFS_TRY(group, ReadFile("/etc/group", kMaxAccountFileBytes));
  return ResolveUser(text, AsText(passwd.value_or(Bytes())), AsText(group.value_or(Bytes())));
}

Status RootDirectory::MakeDirectories(const std::string& path) const {
  for (const std::string& prefix : Prefixes(path)) {
    if (OpenAt(prefix, O_PATH | O_DIRECTORY).has_value()) continue;
    LAYERFS_TRY(parent, OpenAt(ParentOf(prefix), O_PATH | O_DIRECTORY));
    if (::mkdirat(parent.get(), NameOf(prefix).c_str(), kDirectoryMode) != 0) {
      return FailErrno("container's " + prefix, errno);
    }
  }
  return {};
}

Status RootDirectory::MakeMountPoint(const std::string& path, MountPoint wanted) {
  for (const std::string& prefix : Prefixes(path)) {
    const MountPoint one = prefix == path ? wanted : MountPoint{};
    const auto there = OpenAt(prefix, O_PATH);
    if (there.has_value()) {
      struct stat attributes;
      if (::fstat(there->get(), &attributes) != 0) return FailErrno("container's " + prefix, errno);
      if (S_ISDIR(attributes.st_mode) == one.directory) continue;
      return FailErrno("container's " + prefix + ": cannot be a mount point",
                       one.directory ? ENOTDIR : EISDIR);
    }
    LAYERFS_CHECK_OK(MakeOne(ParentOf(prefix), NameOf(prefix), one));
  }
  return {};
}

Status RootDirectory::MakeOne(const std::string& parent, const std::string& name,
                              MountPoint wanted) {
  const std::string path = (parent == "/" ? "" : parent) + "/" + name;
  LAYERFS_TRY(parent_fd, OpenAt(parent, O_RDONLY | O_DIRECTORY));
  struct stat before;
  if (::fstat(parent_fd.get(), &before) != 0) return FailErrno("container's " + parent, errno);
  if (wanted.directory) {
    if (::mkdirat(parent_fd.get(), name.c_str(), kDirectoryMode) != 0) {
      return FailErrno("mount point " + path + " in the container", errno);
    }
  } else {
    const UniqueFd file(::openat(parent_fd.get(), name.c_str(),
                                 O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, kFileMode));
    if (!file.valid()) return FailErrno("mount point " + path + " in the container", errno);
  }
  made_.push_back({path, wanted.directory});
  if (wanted.directory) {
    const UniqueFd made(
        ::openat(parent_fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!made.valid() || ::fchmod(made.get(), wanted.mode) != 0) {
      return FailErrno("mount point " + path + " in the container", errno);
    }
  }
  struct stat after;
  if (::fstat(parent_fd.get(), &after) != 0) return FailErrno("container's " + parent, errno);
  const auto known = std::ranges::find(parents_, parent, &Parent::path);
  if (known == parents_.end()) {
    parents_.push_back({parent, before.st_mtim, after.st_mtim});
  } else {
    known->after = after.st_mtim;
  }
  return {};
}

void RootDirectory::RemoveMountPoints() {
  std::vector<Parent> untouched;
  for (const Parent& parent : parents_) {
    const auto fd = OpenAt(parent.path, O_RDONLY | O_DIRECTORY);
    struct stat now;
    if (fd.has_value() && ::fstat(fd->get(), &now) == 0 && now.st_mtim == parent.after) {
      untouched.push_back(parent);
    }
  }
  for (const Made& made : made_ | std::views::reverse) {
    const auto parent = OpenAt(ParentOf(made.path), O_RDONLY | O_DIRECTORY);
    if (!parent.has_value()) continue;
    const std::string name = NameOf(made.path);
    struct stat attributes;
    if (::fstatat(parent->get(), name.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (made.directory) {
      ::unlinkat(parent->get(), name.c_str(), AT_REMOVEDIR);  // Fails where it is not empty.
    } else if (S_ISREG(attributes.st_mode) && attributes.st_size == 0) {
      ::unlinkat(parent->get(), name.c_str(), 0);
    }
  }
  for (const Parent& parent : untouched) {
    const auto fd = OpenAt(parent.path, O_RDONLY | O_DIRECTORY);
    if (!fd.has_value()) continue;
    const timespec times[2] = {{0, UTIME_OMIT}, parent.before};
    ::futimens(fd->get(), times);
  }
  made_.clear();
  parents_.clear();
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "fs/fuse_session.h"
#include "fs/mount_table.h"

extern char** environ;

namespace layerfs {
namespace {

// The mount point as the kernel's table has it. realpath would ask a mount that may not answer any
// more, so that only the parent is resolved.
Result<std::string> CanonicalMountPoint(const std::string& mount_point) {
  std::string path = mount_point;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(parent.c_str(), nullptr),
                                                             &std::free);
  if (resolved == nullptr) return FailErrno(mount_point, errno);
  if (name.empty() || name == "." || name == "..") {
    const std::unique_ptr<char, decltype(&std::free)> whole(::realpath(path.c_str(), nullptr),
                                                            &std::free);
    if (whole == nullptr) return FailErrno(mount_point, errno);
    return std::string(whole.get());
  }
  const std::string directory = resolved.get();
  return directory == "/" ? directory + name : directory + "/" + name;
}

Status UnmountAsUser(const std::string& path, bool lazy) {
  std::string program = "fusermount3";
  std::string unmount_flag = lazy ? "-uz" : "-u";
  std::string separator = "--";
  std::string target = path;
  char* const arguments[] = {program.data(), unmount_flag.data(), separator.data(), target.data(),
                             nullptr};
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments, environ);
  if (error != 0) return FailErrno("fusermount3 (package fuse3)", error);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return FailErrno("fusermount3", errno);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Fail(ErrorCode::kBusy, path +
                                    ": fusermount3 could not unmount it; is it in use? "
                                    "--lazy detaches it at once");
}

}  // namespace

Status Unmount(const std::string& mount_point, bool lazy) {
  LAYERFS_TRY(path, CanonicalMountPoint(mount_point));
  std::string type = MountedType(path);
  if (type.empty()) {
    const std::unique_ptr<char, decltype(&std::free)> whole(
        ::realpath(mount_point.c_str(), nullptr), &std::free);
    if (whole != nullptr) {
      path = whole.get();
      type = MountedType(path);
    }
  }
  if (type.empty()) return Fail(ErrorCode::kNotFound, mount_point + ": nothing is mounted there");
  if (!type.starts_with(kMountType)) {
    return Fail(ErrorCode::kInvalidArgument,
                mount_point + ": is a " + type + " mount, not one of layerfs: use umount(8)");
  }
  if (::geteuid() != 0) return UnmountAsUser(path, lazy);
  if (::umount2(path.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0) return {};
  if (errno == EBUSY) {
    return Fail(ErrorCode::kBusy,
                mount_point + ": in use by a process; --lazy detaches it at once");
  }
  return FailErrno(mount_point, errno);
}

}  // namespace layerfs

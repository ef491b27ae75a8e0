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

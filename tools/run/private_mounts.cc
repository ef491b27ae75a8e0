// SPDX-License-Identifier: Apache-2.0
#include "tools/run/private_mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

#include "index/base/log.h"

namespace layerfs {

Result<PrivateMounts> PrivateMounts::Enter() {
  PrivateMounts mounts;
  LAYERFS_TRY(outside, OpenFile("/proc/thread-self/ns/mnt", O_RDONLY));
  LAYERFS_TRY(root, OpenFile("/", O_PATH | O_DIRECTORY));
  LAYERFS_TRY(directory, OpenFile(".", O_PATH | O_DIRECTORY));
  mounts.outside_ = std::move(outside);
  mounts.root_ = std::move(root);
  mounts.directory_ = std::move(directory);
  if (::unshare(CLONE_NEWNS) != 0) return FailErrno("a mount namespace", errno);
  mounts.inside_ = true;
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return FailErrno("a mount namespace of its own", errno);
  }
  return mounts;
}

PrivateMounts::PrivateMounts(PrivateMounts&& other) noexcept
    : outside_(std::move(other.outside_)),
      root_(std::move(other.root_)),
      directory_(std::move(other.directory_)),
      inside_(std::exchange(other.inside_, false)) {}

PrivateMounts::~PrivateMounts() {
  if (!inside_) return;
  if (::setns(outside_.get(), CLONE_NEWNS) != 0 || ::fchdir(root_.get()) != 0 ||
      ::chroot(".") != 0 || ::fchdir(directory_.get()) != 0) {
    LogWarning(ErrnoError("the way back from a mount namespace", errno).context);
  }
}

}  // namespace layerfs

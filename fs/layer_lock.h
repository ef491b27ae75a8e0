// SPDX-License-Identifier: Apache-2.0
// LayerLock: who uses a container layer (CONTAINER_LAYER.md, "The directory"). One user at a time;
// a mount says where it is, so that whoever comes second is told, and waits only for one that ends.
// One thread at a time.
#pragma once

#include <chrono>
#include <string>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class LayerLock {
 public:
  struct Patience {
    // umount(8) returns before the daemon has ended, which takes it milliseconds, but longer where
    // the machine or its disk is busy.
    std::chrono::milliseconds for_ending{10'000};
    // The mount is there: perhaps it is just being unmounted.
    std::chrono::milliseconds for_serving{1'000};
  };
  // Of the directory that is open as `directory_fd` and called `directory` in messages. kBusy, who
  // has it and what to do, where somebody goes on using it.
  static Result<LayerLock> Take(int directory_fd, const std::string& directory, Patience patience);
  static Result<LayerLock> Take(int directory_fd, const std::string& directory) {
    return Take(directory_fd, directory, Patience{});
  }

  // Of a directory that nothing may be put into: the lock is on the open directory itself, for as
  // long as it, or a duplicate, is open. kBusy where another mount has it.
  static Status TakeOpen(int directory_fd, const std::string& directory, Patience patience);
  static Status TakeOpen(int directory_fd, const std::string& directory) {
    return TakeOpen(directory_fd, directory, Patience{});
  }

  LayerLock() = default;
  // This process serves the layer's mount on `mount_point`, from now on.
  Status NoteMount(const std::string& mount_point) const;

 private:
  explicit LayerLock(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace layerfs

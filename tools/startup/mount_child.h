// SPDX-License-Identifier: Apache-2.0
// MountChild: an image mounted by a `layerfs mount` of its own process, for commands that measure
// or record it from outside.
// One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

class MountChild {
 public:
  // Starts it with these words behind "mount --foreground" and waits until the mount answers. Its
  // messages go to this process's stderr.
  static Result<std::unique_ptr<MountChild>> Start(const std::string& image,
                                                   const std::string& mount_point,
                                                   const std::vector<std::string>& options);
  ~MountChild();
  MountChild(const MountChild&) = delete;
  MountChild& operator=(const MountChild&) = delete;

  const Json& config() const { return config_; }  // the image's
  // Unmounts it and waits for the process; the error is the process's failure.
  Status Stop();

 private:
  MountChild(int pid, std::string mount_point) : pid_(pid), mount_point_(std::move(mount_point)) {}

  int pid_;
  std::string mount_point_;
  Json config_;
};

// A directory under /tmp that is removed (it has to be empty then) with the object.
class ScratchDirectory {
 public:
  static Result<ScratchDirectory> Make(const std::string& prefix);
  ScratchDirectory(ScratchDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ~ScratchDirectory();
  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace layerfs

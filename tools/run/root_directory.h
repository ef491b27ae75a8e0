// SPDX-License-Identifier: Apache-2.0
// RootDirectory: a container's mounted root, looked at from outside. Every path is resolved inside
// it, whatever symbolic links the image has (openat2(2), RESOLVE_IN_ROOT).
// One thread at a time.
#pragma once

#include <sys/types.h>

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/file.h"
#include "tools/run/image_user.h"

namespace layerfs {

class RootDirectory {
 public:
  static Result<RootDirectory> Open(const std::string& path);

  // open(2) of `path` with these flags.
  Result<UniqueFd> OpenAt(const std::string& path, int flags) const;
  // Nothing where there is no such file.
  Result<std::optional<Bytes>> ReadFile(const std::string& path, uint64_t limit) const;

  // ResolveUser by the /etc/passwd and /etc/group that are there.
  Result<ImageUser> FindUser(std::string_view text) const;

  // mkdir -p, for good: a missing working directory becomes part of the container.
  Status MakeDirectories(const std::string& path) const;

  static constexpr mode_t kDirectoryMode = 0755;
  struct MountPoint {
    bool directory = true;         // or a file
    mode_t mode = kDirectoryMode;  // of a directory that is made, whatever the umask
  };
  // Sees to it that something lies at `path` on which a directory or a file can be mounted. What is
  // made for it is remembered.
  Status MakeMountPoint(const std::string& path, MountPoint wanted);
  // Removes what MakeMountPoint made and nobody has filled since, and gives its directories their
  // times back where nobody else has changed them: so a container's layer holds what the container
  // did, not how it was started. Errors are passed over: what is in use stays.
  void RemoveMountPoints();

 private:
  struct Made {
    std::string path;
    bool directory = false;
  };
  struct Parent {
    std::string path;
    timespec before{};  // its mtime before anything was made in it …
    timespec after{};   // … and since
  };
  explicit RootDirectory(UniqueFd fd, std::string path)
      : fd_(std::move(fd)), path_(std::move(path)) {}

  Status MakeOne(const std::string& parent, const std::string& name, MountPoint wanted);

  UniqueFd fd_;
  std::string path_;
  std::vector<Made> made_;
  std::vector<Parent> parents_;
};

}  // namespace layerfs

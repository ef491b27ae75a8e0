// SPDX-License-Identifier: Apache-2.0
// ScratchDirectory: a directory that is removed with the object, with all that is in it; where its
// process is killed first, by the next one of its kind. Never across a mount.
// Invariants:
//   1. Who uses a directory has the lock (flock) on it: its maker, and what that forks.
//   2. Only who has the lock removes it.
// One thread at a time.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class ScratchDirectory {
 public:
  // `parent`/`prefix`.XXXXXX. Those that nobody uses any more go first.
  static Result<ScratchDirectory> Make(const std::string& prefix,
                                       const std::string& parent = "/tmp");
  ScratchDirectory(ScratchDirectory&& other) noexcept
      : path_(std::exchange(other.path_, {})),
        swept_(std::move(other.swept_)),
        lock_(std::move(other.lock_)) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ~ScratchDirectory();

  const std::string& path() const { return path_; }
  // The names of those that went.
  const std::vector<std::string>& swept() const { return swept_; }

 private:
  ScratchDirectory(std::string path, UniqueFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  std::vector<std::string> swept_;
  UniqueFd lock_;
};

}  // namespace layerfs

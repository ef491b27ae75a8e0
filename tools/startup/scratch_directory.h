// SPDX-License-Identifier: Apache-2.0
// ScratchDirectory: a directory that is removed with the object, with the files and the empty
// directories in it.
// One thread at a time.
#pragma once

#include <string>
#include <utility>

#include "index/base/error.h"

namespace layerfs {

class ScratchDirectory {
 public:
  // In /tmp.
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

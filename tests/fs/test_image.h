// SPDX-License-Identifier: Apache-2.0
// For tests of mounts: a converted image of two layers with everything in it that a layer can hold,
// made with the system's own tar, and beside it the same tree unpacked. Needs root.
// One thread at a time.
#pragma once

#include <string>

#include "index/base/error.h"

namespace layerfs {

class TestImage {
 public:
  // In a new directory of /var/tmp, since /tmp may lack user xattrs. Removed with the object.
  // `more`: shell commands that run in the lower layer's root and add to it.
  static Result<TestImage> Make(const std::string& more = "");
  TestImage(TestImage&& other) noexcept;
  TestImage& operator=(TestImage&&) = delete;
  ~TestImage();

  const std::string& directory() const { return directory_; }
  std::string tree() const { return directory_ + "/tree"; }
  std::string reference() const { return "oci:" + directory_ + "/lazy:latest"; }
  std::string plain_reference() const { return "oci:" + directory_ + "/plain:latest"; }

 private:
  explicit TestImage(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

// Runs a shell command; an error with it where it fails.
Status RunShell(const std::string& command);

}  // namespace layerfs

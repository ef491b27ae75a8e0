// SPDX-License-Identifier: Apache-2.0
// ResidentFiles: files that stay in the kernel's page cache while all else is dropped from it. For
// what a start does not read from a cold disk: the tools, which a machine that runs containers has
// in memory, and the registry's blobs, which lie on another machine.
// One thread at a time.
#pragma once

#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class ResidentFiles {
 public:
  // Reads the file into memory and keeps it there, as long as the object lives and memory allows.
  Status Add(const std::string& path);
  // All regular files below the directory.
  Status AddTree(const std::string& directory);
  // This process's executable and libraries.
  Status AddOwnProgram();

 private:
  // The kernel drops no page that somebody has mapped (drop_caches), nor a mapped file's inode.
  std::vector<MappedFile> files_;
};

}  // namespace layerfs

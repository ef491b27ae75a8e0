// SPDX-License-Identifier: Apache-2.0
// InodePaths: the way from an inode back to its name, for messages and for order. The tree has only
// the way down; the way up is worked out when it is first asked for (four bytes an inode).
// Thread-safe.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "index/index.h"

namespace layerfs {

class InodePaths {
 public:
  // `tree` outlives it.
  explicit InodePaths(const Index& tree) : tree_(tree) {}

  // "/usr/bin/python3"; of several names one. "inode 12" for what has none.
  std::string PathOf(InodeNumber inode);
  // A directory that has it; the root for what is in none.
  InodeNumber DirectoryOf(InodeNumber inode);

 private:
  void WorkOut();

  const Index& tree_;
  std::once_flag worked_out_;
  std::vector<uint32_t> directories_;  // by inode number; 0: none
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// FillOrder: which file a fill takes next. Each file comes once.
// One thread at a time.
#pragma once

#include <deque>
#include <vector>

#include "fs/inode_paths.h"
#include "index/index.h"

namespace layerfs {

class FillOrder {
 public:
  // `files`: all, in the order in which they come when nothing else is known. `paths` may be null.
  FillOrder(const Index& tree, std::vector<InodeNumber> files, InodePaths* paths);

  // The file is in use: it comes next, and behind it its neighbours in the directory.
  void Prefer(InodeNumber file);
  // kNoInode when there are no more.
  InodeNumber Next();

 private:
  bool Take(InodeNumber file);

  const Index& tree_;
  const std::vector<InodeNumber> files_;
  InodePaths* const paths_;
  size_t position_ = 0;
  std::deque<InodeNumber> preferred_;
  std::vector<bool> taken_;              // by inode number
  std::vector<bool> known_directories_;  // likewise
};

}  // namespace layerfs

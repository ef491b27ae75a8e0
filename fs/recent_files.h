// SPDX-License-Identifier: Apache-2.0
// RecentFiles: the files that were read last, each once, for whoever looks at them from time to
// time. One thread at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "index/index.h"

namespace layerfs {

class RecentFiles {
 public:
  // Keeps the last `most`, at least one.
  explicit RecentFiles(size_t most) : most_(most) {}

  void Note(InodeNumber file) {
    if (!files_.empty() && files_.back() == file) return;
    if (std::erase(files_, file) == 0 && files_.size() == most_) files_.erase(files_.begin());
    files_.push_back(file);
  }
  // Those since the last call, the one that was read last at the end.
  std::vector<InodeNumber> Take() { return std::exchange(files_, {}); }

 private:
  const size_t most_;
  std::vector<InodeNumber> files_;
};

}  // namespace layerfs

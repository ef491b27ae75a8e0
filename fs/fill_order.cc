// SPDX-License-Identifier: Apache-2.0
#include "fs/fill_order.h"

#include <algorithm>
#include <utility>

namespace layerfs {

FillOrder::FillOrder(const Index& tree, std::vector<InodeNumber> files, InodePaths* paths)
    : tree_(tree),
      files_(std::move(files)),
      paths_(paths),
      // What is not among the files is not to come.
      taken_(size_t{tree.inode_count()} + 1, true),
      known_directories_(size_t{tree.inode_count()} + 1, false) {
  for (const InodeNumber file : files_) taken_[ToUint(file)] = false;
}

bool FillOrder::Take(InodeNumber file) {
  if (ToUint(file) >= taken_.size() || taken_[ToUint(file)]) return false;
  taken_[ToUint(file)] = true;
  return true;
}

void FillOrder::Prefer(InodeNumber file) {
  if (paths_ == nullptr || ToUint(file) >= taken_.size()) return;
  if (!taken_[ToUint(file)]) preferred_.push_front(file);
  const InodeNumber directory = paths_->DirectoryOf(file);
  if (known_directories_[ToUint(directory)]) return;
  known_directories_[ToUint(directory)] = true;
  std::vector<InodeNumber> neighbours;
  const uint32_t entries = tree_.Get(directory).entry_count;
  for (uint32_t i = 0; i < entries; ++i) {
    const InodeNumber entry = tree_.EntryAt(directory, i).inode;
    if (ToUint(entry) < taken_.size() && !taken_[ToUint(entry)]) neighbours.push_back(entry);
  }
  const auto place = [&](InodeNumber inode) {
    const Inode attributes = tree_.Get(inode);
    return std::pair(attributes.layer, attributes.data_offset);
  };
  std::sort(neighbours.begin(), neighbours.end(),
            [&](InodeNumber a, InodeNumber b) { return place(a) < place(b); });
  preferred_.insert(preferred_.end(), neighbours.begin(), neighbours.end());
}

InodeNumber FillOrder::Next() {
  while (!preferred_.empty()) {
    const InodeNumber file = preferred_.front();
    preferred_.pop_front();
    if (Take(file)) return file;
  }
  while (position_ < files_.size()) {
    const InodeNumber file = files_[position_++];
    if (Take(file)) return file;
  }
  return kNoInode;
}

}  // namespace layerfs

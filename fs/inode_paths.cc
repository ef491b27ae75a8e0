// SPDX-License-Identifier: Apache-2.0
#include "fs/inode_paths.h"

namespace layerfs {
namespace {

// A sound tree is never so deep; a forged one may go in circles.
constexpr int kMaxDepth = 4096;

}  // namespace

void InodePaths::WorkOut() {
  const uint32_t count = tree_.inode_count();
  directories_.resize(size_t{count} + 1);
  for (uint32_t number = 1; number <= count; ++number) {
    const InodeNumber directory{number};
    const Inode inode = tree_.Get(directory);
    if (!inode.is_directory()) continue;
    for (uint32_t i = 0; i < inode.entry_count; ++i) {
      const uint32_t entry = ToUint(tree_.EntryAt(directory, i).inode);
      if (entry < directories_.size() && directories_[entry] == 0) directories_[entry] = number;
    }
  }
}

InodeNumber InodePaths::DirectoryOf(InodeNumber inode) {
  std::call_once(worked_out_, [this] { WorkOut(); });
  const uint32_t number = ToUint(inode);
  const uint32_t directory = number < directories_.size() ? directories_[number] : 0;
  return directory != 0 ? InodeNumber{directory} : kRootInode;
}

std::string InodePaths::PathOf(InodeNumber inode) {
  if (inode == kRootInode) return "/";
  std::string path;
  for (int depth = 0; inode != kRootInode && depth < kMaxDepth; ++depth) {
    const InodeNumber directory = DirectoryOf(inode);
    const uint32_t entries = tree_.Get(directory).entry_count;
    uint32_t position = 0;
    while (position < entries && tree_.EntryAt(directory, position).inode != inode) ++position;
    if (position == entries) return "inode " + std::to_string(ToUint(inode));
    path = "/" + std::string(tree_.EntryAt(directory, position).name) + path;
    inode = directory;
  }
  return path;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/image_attributes.h"

#include "index/base/bytes.h"

namespace layerfs {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kSectorBytes = 512;  // stat's st_blocks counts these

// What the file would take on a disk; a sparse file's holes take nothing.
uint64_t Blocks(const Index& tree, InodeNumber number, const Inode& inode) {
  if (inode.is_directory()) return kBlockBytes / kSectorBytes;
  if (!inode.is_regular()) return 0;
  return AlignUp(tree.DataBytes(number), kBlockBytes) / kSectorBytes;
}

}  // namespace

struct stat ImageAttributes(const Index& tree, InodeNumber number) {
  const Inode inode = tree.Get(number);
  struct stat attributes{};
  attributes.st_ino = ToUint(number);
  attributes.st_mode = inode.mode;
  attributes.st_nlink = inode.nlink;
  attributes.st_uid = inode.uid;
  attributes.st_gid = inode.gid;
  attributes.st_rdev = inode.rdev;
  attributes.st_size = static_cast<off_t>(inode.is_directory() ? kBlockBytes : inode.size);
  attributes.st_blksize = kBlockBytes;
  attributes.st_blocks = static_cast<blkcnt_t>(Blocks(tree, number, inode));
  const timespec mtime{inode.mtime.seconds, static_cast<long>(inode.mtime.nanoseconds)};
  attributes.st_mtim = mtime;
  attributes.st_ctim = mtime;
  attributes.st_atim = mtime;
  return attributes;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// IndexWriter: inodes, entries and tables → the bytes of an index. The one writer of the format,
// for the layer index builder and the merge.
// One thread at a time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

class IndexWriter {
 public:
  explicit IndexWriter(IndexKind kind);
  ~IndexWriter();

  // An inode as Index::Get gives it; parent and entry_count are filled in by SetEntries, nlink is
  // taken as given. Numbers are handed out in order: the first is kRootInode. The views need to
  // live only for the call.
  struct NewInode {
    Inode inode;
    std::string_view target;        // symlinks and unresolved links
    std::span<const Xattr> xattrs;  // any order; the writer sorts by name and shares equal sets
    bool sparse = false;            // regular files: `extents` tells where the data are
    std::span<const DataExtent> extents;
  };
  InodeNumber AddInode(const NewInode& inode);
  // So many will be added: their memory is taken at once, and no more.
  void ExpectInodes(size_t count);

  // The entries of a directory, sorted by name; once per directory at most (none: empty). An entry
  // whose inode is a directory gets `directory` as its parent. The inodes may come later.
  void SetEntries(InodeNumber directory, std::span<const Dirent> entries);

  // kTooLarge where a section outgrows the format's limits (FORMAT.md, "Limits").
  Result<Bytes> Finish(std::span<const LayerInfo> layers, std::span<const SegmentRef> segments) &&;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerfs

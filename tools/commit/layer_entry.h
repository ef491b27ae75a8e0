// SPDX-License-Identifier: Apache-2.0
// LayerEntry: one thing that a container layer adds, changes or deletes, as a tar layer says it
// (image-spec layer.md).
// A value.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "index/index.h"

namespace layerfs {

enum class ChangeKind { kAdded, kChanged, kDeleted };

enum class EntryType {
  kDirectory,
  kFile,
  kSymlink,
  kNode,      // device or FIFO
  kHardLink,  // another name of an entry before it
  kWhiteout,
  kOpaque,  // of the directory at `path`
};

struct LayerEntry {
  std::string path;  // from the root, without a leading slash; the root's is empty
  EntryType type = EntryType::kFile;
  ChangeKind change = ChangeKind::kAdded;
  // Only for diff: what the layer's tar says by another entry, or not at all because nothing of it
  // changed.
  bool in_tar = true;
  bool in_diff = true;

  uint32_t mode = 0;  // with the type's bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  Timestamp mtime;
  uint64_t size = 0;
  dev_t device = 0;
  std::string target;  // of a symlink or a hard link
  std::map<std::string, std::string> xattrs;

  // Where a file's bytes are: a name in the layer's upper/ or index/, or an inode of the image.
  std::string upper_path;
  bool in_index = false;
  std::optional<InodeNumber> image_inode;  // of a partial file: the one below
};

}  // namespace layerfs

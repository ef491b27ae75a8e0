// SPDX-License-Identifier: Apache-2.0
// The mount options of a mount of plain directories, as fuse-overlayfs(1) and overlayfs name them.
// One thread at a time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fs/layered_file_system.h"
#include "index/base/error.h"

namespace layerfs {

struct OverlayOptions {
  std::vector<std::string> lower_directories;  // the topmost first
  std::string upper_directory;                 // empty: read-only
  std::string work_directory;
  ContainerLayer::PlainMarks marks;  // userxattr, xattr_permissions=2
  LayeredFileSystem::Options file_system;
  bool one_thread = false;
  // What is not ours, for FUSE and the kernel.
  std::vector<std::string> others;
};

// Commas that a backslash precedes do not separate.
std::vector<std::string> SplitMountWords(const std::vector<std::string>& lists);
// Without lowerdir, upperdir and workdir the words are all `others`.
bool NamesDirectories(const std::vector<std::string>& words);
// kInvalidArgument names the word and what to do about it.
Result<OverlayOptions> ParseOverlayOptions(const std::vector<std::string>& words);

}  // namespace layerfs

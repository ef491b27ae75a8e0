// SPDX-License-Identifier: Apache-2.0
// UpperObject: one object of a container layer's upper directory, as it shows.
// A value; the functions are thread-safe.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "fs/overlay_marks.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

struct UpperObject {
  struct stat attributes{};  // as they show
  uint64_t inode = 0;        // in the upper file system
  bool whiteout = false;
  OpaqueMark opaque = OpaqueMark::kNone;      // directories
  std::string redirect;                       // likewise
  std::optional<uint64_t> origin;             // the image's inode
  std::string target;                         // symlinks
  std::map<std::string, std::string> xattrs;  // without private ones

  bool is_directory() const { return S_ISDIR(attributes.st_mode); }
};

// `may_hold_whiteouts`: the directory's mark says that empty files in it may be whiteouts.
Result<UpperObject> ReadUpperObject(int directory_fd, const std::string& name,
                                    bool may_hold_whiteouts);
Result<UpperObject> ReadUpperRoot(int upper_fd);

}  // namespace layerfs

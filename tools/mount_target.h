// SPDX-License-Identifier: Apache-2.0
// What `layerfs mount` is to mount, and where: its words, checked and made independent of the
// directory that the caller is in, which the daemon leaves.
// One thread at a time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fetch/reference.h"
#include "fs/fuse_session.h"
#include "index/base/error.h"
#include "tools/overlay_options.h"

namespace layerfs {

// As they come from the command line.
struct MountWords {
  std::string image;
  std::string directory;
  std::string container_layer;
  std::vector<std::string> options;  // of -o
  int threads = FuseOptions{}.max_threads;
  bool fuse_debug = false;
};

// An image, or directories.
struct MountTarget {
  std::optional<ImageReference> image;
  std::string container_layer;  // with an image, or on nothing; empty: read-only
  OverlayOptions overlay;       // with an image, only what concerns the file system
  std::string mount_point;
  FuseOptions fuse;
};

// Options that cannot be are errors before anything is fetched.
Result<MountTarget> MakeMountTarget(MountWords words);

// The path from "/" on, where there is one.
Status MakeAbsolute(std::string& path);

}  // namespace layerfs

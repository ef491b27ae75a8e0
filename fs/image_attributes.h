// SPDX-License-Identifier: Apache-2.0
// What stat(2) says of an inode of an image's tree, for both file systems that show one.
// Thread-safe.
#pragma once

#include <sys/stat.h>

#include "index/index.h"

namespace layerfs {

// `inode` must be contained.
struct stat ImageAttributes(const Index& tree, InodeNumber inode);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// CopyTree: what a new volume begins with: the files that the image has at its place.
// Thread-safe: a function.
#pragma once

#include "index/base/error.h"

namespace layerfs {

// Copies everything below the directory `from` into the empty directory `to`, and the directory's
// own attributes: owners, modes, times, xattrs, hard links among the copies, devices. Errors name
// the entry.
Status CopyTree(int from, int to);

}  // namespace layerfs

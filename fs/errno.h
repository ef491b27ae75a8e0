// SPDX-License-Identifier: Apache-2.0
// Error → errno: the one place where trouble becomes what a system call returns.
// Thread-safe.
#pragma once

#include "index/base/error.h"

namespace layerfs {

// Network trouble and damaged bytes are EIO, never ENOENT: a program must not take a file that
// cannot be read for one that is not there.
int ErrnoOf(const Error& error);

}  // namespace layerfs

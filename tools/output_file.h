// SPDX-License-Identifier: Apache-2.0
// A file that a user has named for a command's result.
// Thread-safe: functions only.
#pragma once

#include <string>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

// A regular file gets `data` all at once, or stays as it was; symlinks are followed. What is
// something else, such as /dev/stdout or a pipe, is written to.
Status WriteOutputFile(const std::string& path, ByteSpan data);
// Before work that takes long: whether there is a directory for it.
Status CheckOutputFile(const std::string& path);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// SortedNames: what is in a directory, in an order that does not depend on its file system.
// Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

// Without "." and "..". The descriptor's own position stays as it is.
Result<std::vector<std::string>> SortedNames(int directory_fd);

}  // namespace layerfs

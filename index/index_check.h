// SPDX-License-Identifier: Apache-2.0
// The deep check of an index: what a sound writer guarantees beyond what Open needs to be safe.
// Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "index/index.h"

namespace layerfs {

// A sentence for each finding, at most 100 of them; empty: sound. Checks that every inode has a
// name, that link counts are right, that the chunk table covers each layer's tar to its end, and
// that no two files of a layer share a run of the tar in part.
std::vector<std::string> CheckIndex(const Index& index);

}  // namespace layerfs

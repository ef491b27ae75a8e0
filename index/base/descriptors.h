// SPDX-License-Identifier: Apache-2.0
// How many file descriptors one use may take where the process may have few.
// Thread-safe.
#pragma once

#include <cstddef>

namespace layerfs {

// One of `parts` of those that this process may have open (RLIMIT_NOFILE), so that its other uses
// have theirs, but at least `least` and at most `most`.
size_t DescriptorShare(size_t parts, size_t least, size_t most);

}  // namespace layerfs

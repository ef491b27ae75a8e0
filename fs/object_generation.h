// SPDX-License-Identifier: Apache-2.0
// What tells an object on disk from others that have had, or will have, its inode number.
// Thread-safe: a function only.
#pragma once

#include <cstdint>
#include <string>

namespace layerfs {

// Of `name` in an open directory (a symlink is not followed), or with an empty name of the open
// object itself. Taken from the file handle that its file system gives it (name_to_handle_at(2)),
// and where it gives none, from its time of birth. The same over renames and restarts.
uint32_t GenerationOf(int fd, const std::string& name);

}  // namespace layerfs

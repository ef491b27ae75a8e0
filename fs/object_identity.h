// SPDX-License-Identifier: Apache-2.0
// What tells an object on disk from others that have had, or will have, its inode number: the file
// handle that its file system gives it (name_to_handle_at(2)).
// Thread-safe: functions only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace layerfs {

// The object `name` in an open directory (a symlink is not followed), or with an empty name the
// open object itself.
//
// A number; where there is no handle, from its time of birth. The same over renames and restarts.
uint32_t GenerationOf(int fd, const std::string& name);

// Handle and file system in printable letters, the same over renames and restarts; empty where the
// file system gives no handles.
std::string IdentityOf(int fd, const std::string& name);
// Whether the file system of the open object `fd` has one with that identity. Nothing where this
// process may not ask (CAP_DAC_READ_SEARCH).
std::optional<bool> Exists(int fd, const std::string& identity);

}  // namespace layerfs

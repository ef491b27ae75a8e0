// SPDX-License-Identifier: Apache-2.0
// layerfs under the name mount.fuse.layerfs: the helper that mount(8) calls for the type
// fuse.layerfs, and the mount_program of containers/storage (Podman).
// Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace layerfs {

// Whether the program was called by the helper's name.
bool IsMountHelper(std::string_view program);
// The helper's arguments, [SOURCE] DIRECTORY [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTION,…], as
// those of `layerfs mount`.
std::vector<std::string> MountHelperArguments(const std::vector<std::string>& arguments);
// Where they ask for a remount: the command that makes it without a helper, for a remount concerns
// the kernel alone. Else empty.
std::vector<std::string> RemountCommand(const std::vector<std::string>& arguments);

}  // namespace layerfs

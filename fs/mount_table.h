// SPDX-License-Identifier: Apache-2.0
// What the kernel says is mounted.
// Thread-safe.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "index/base/error.h"

namespace layerfs {

// As the kernel makes it of "fuse" and FuseOptions' subtype.
constexpr std::string_view kMountType = "fuse.layerfs";

// The type of the topmost mount on `path`, as the process sees it (0: this one); empty where
// nothing is mounted, or there is no such process.
std::string MountedType(const std::string& path, pid_t process = 0);

// The mount point as the kernel's table has it. realpath would ask a mount that may not answer any
// more, so that only the parent is resolved.
Result<std::string> CanonicalMountPoint(const std::string& mount_point);

}  // namespace layerfs

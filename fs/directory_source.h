// SPDX-License-Identifier: Apache-2.0
// DirectorySource: a directory of this machine as a lower source, in overlayfs's convention
// (whiteouts, opaque and redirect marks). Nobody changes it while it is in use.
// Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "fs/lower_source.h"

namespace layerfs {

Result<std::unique_ptr<LowerSource>> OpenDirectorySource(const std::string& path);

}  // namespace layerfs

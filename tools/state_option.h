// SPDX-License-Identifier: Apache-2.0
// The option that says where containers are kept, and paths as the commands on containers need
// them.
// One thread at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "index/base/error.h"

namespace layerfs {

// --state, or $LAYERFS_STATE.
void DeclareState(CLI::App& app, std::string& directory);
// As given, or DefaultStateDirectory.
std::string StateDirectory(const std::string& given);

// From the working directory, without a look at whether it is there.
Result<std::string> AbsolutePath(const std::string& path);
// The executable that this is.
Result<std::string> OwnProgram();

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The option that says where containers are kept, and paths as the commands on containers need
// them.
// One thread at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "tools/command.h"

namespace layerfs {

// --state, or $LAYERFS_STATE.
void DeclareState(CLI::App& app, std::string& directory);
// As given, or DefaultStateDirectory.
std::string StateDirectory(const std::string& given);

// Does it to each container, prints the names of those that it was done to and tells of the others
// as the command `title`. Some are passed over in silence: `act` gives false.
ExitStatus ForEachContainer(const std::vector<std::string>& names, const std::string& title,
                            CommandIo& io,
                            const std::function<Result<bool>(const std::string&)>& act);

// From the working directory, without a look at whether it is there.
Result<std::string> AbsolutePath(const std::string& path);
// The executable that this is.
Result<std::string> OwnProgram();

}  // namespace layerfs

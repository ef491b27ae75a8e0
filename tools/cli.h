// SPDX-License-Identifier: Apache-2.0
// The command line of layerfs: arguments → a command → an exit status.
// One thread at a time.
#pragma once

#include <string>
#include <vector>

#include "tools/command.h"

namespace layerfs {

// `arguments` without the program's name. Errors are printed to io.err as "layerfs COMMAND: …".
int RunCli(std::vector<std::string> arguments, CommandIo& io);

}  // namespace layerfs

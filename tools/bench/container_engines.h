// SPDX-License-Identifier: Apache-2.0
// The container engines that a user would pick instead, as command lines with stores of their own:
// containerd by ctr, with the overlayfs snapshotter, and Podman.
// Values, but for the server; one thread at a time.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "tools/bench/child_program.h"

namespace layerfs {

using CommandWords = std::vector<std::string>;

struct EngineCommands {
  CommandWords tool;  // does nothing but bring the tool into memory
  CommandWords pull;
  CommandWords run;
  CommandWords kill;  // whatever `run` has left
};

struct EngineStart {
  std::string home;       // of its store; absolute
  std::string reference;  // of the image, in a registry on loopback
  std::string name;       // of the container and of what it leaves in control groups
  CommandWords command;   // in the place of the image's own; may be empty
};
EngineCommands ContainerdCommands(const EngineStart& start);
// The runtime by name, because Podman's own default refuses some machines' control groups.
EngineCommands PodmanCommands(const EngineStart& start, const std::string& runtime);

// What empty file systems have to be laid over for the engines to leave nothing.
std::vector<std::string> EngineRunDirectories();

// A containerd with an empty store below `home`, ended with the object.
Result<ChildProgram> StartContainerd(const std::string& home);

// Whether the programs that this way needs are there: kNotFound names one and its package.
Status CheckPrograms(const std::string& way);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// RunEnclosed: work in PID and mount namespaces of its own, so that none of its processes, servers
// and mounts outlives it, however it ends: by itself, by an error, by Ctrl-C or a kill.
// Needs root, and a process of one thread; once in a process, which cannot start others afterwards.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

// What `work` returned, which runs in a new process; 128 + the signal that ended it or that this
// process got meanwhile (HUP, INT and TERM end all of it). In `hidden`, directories of programs
// that leave things there, it finds empty file systems in memory.
Result<int> RunEnclosed(const std::vector<std::string>& hidden, const std::function<int()>& work);

// Removes what killed containers leave of control groups whose names begin with `prefix`.
void RemoveControlGroups(const std::string& prefix);

}  // namespace layerfs

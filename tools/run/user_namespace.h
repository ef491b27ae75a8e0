// SPDX-License-Identifier: Apache-2.0
// User namespaces: how an ordinary user comes to run containers (user_namespaces(7)). As rootless
// Podman does, a command becomes root of a user and a mount namespace of its own, and mounts and
// runs what it has to in there.
// For a process of one thread.
#pragma once

#include <cstdint>

#include "index/base/error.h"

namespace layerfs {

// Does nothing for root. Otherwise this process is root of namespaces of its own afterwards: the
// caller's ids are 0, and the caller's subordinate ids (/etc/subuid, /etc/subgid), where newuidmap
// and newgidmap are there to give them, are those from 1 on. Ask for whatever depends on who the
// caller is before.
Status BecomeNamespaceRoot();

// Whether this process is in a user namespace that is not the machine's first.
bool InUserNamespace();
// Root, and not only of a user namespace: the machine's own directories are this process's.
bool IsMachineRoot();
// Whether groups can be set here at all.
bool MaySetGroups();

}  // namespace layerfs

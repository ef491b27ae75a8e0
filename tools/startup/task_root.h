// SPDX-License-Identifier: Apache-2.0
// The world of a StartupTask: its root, what is mounted there, and what it may do. As a container
// engine makes it, but for the network, which is the machine's, the making of devices, which
// nothing here could confine, and the filter of system calls, which only a runtime has. For a
// process of its own, between fork and exec, where what fails ends it with a word on standard
// error. One thread at a time.
#pragma once

#include <string>

namespace layerfs {

// The calling process, in mount and PID namespaces of its own, has `lower` under a scratch layer in
// memory for its root afterwards, and no way back; `scratch` is a directory to make that on.
// /etc/hosts and /etc/resolv.conf are copies of the machine's.
void EnterTaskRoot(const std::string& lower, const std::string& scratch);

// Takes from what an exec may give everything that containers do not have by default
// (capabilities(7)).
void BoundTaskCapabilities();
// Takes it from a task that stays root.
void DropTaskCapabilities();

[[noreturn]] void EndTask(const char* what);

}  // namespace layerfs

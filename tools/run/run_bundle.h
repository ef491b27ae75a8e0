// SPDX-License-Identifier: Apache-2.0
// RunBundle: a bundle → a container that runs in the foreground: its streams or its terminal are
// ours, our signals are its, and its end is what comes back.
// One thread at a time; makes the process the one to which the container's first process falls
// (prctl(2), PR_SET_CHILD_SUBREAPER) for as long as it runs.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string>

#include "index/base/error.h"
#include "tools/run/runtime.h"

namespace layerfs {

// What somebody who watches a container does. All are called on the thread that runs it.
struct RunHooks {
  // Its first process, once it runs.
  std::function<void(pid_t)> on_started;
  // Asked every `poll_interval`: a signal that the container is to get, or nothing.
  std::function<std::optional<int>()> on_poll;
  std::chrono::milliseconds poll_interval{50};
};

struct BundleRun {
  std::string directory;  // the bundle; logs and sockets lie beside config.json
  std::string id;
  bool terminal = false;
  bool interactive = false;
  int stop_signal = SIGTERM;
  // Whether HUP, INT, QUIT, TERM, USR1 and USR2 that this process gets are the container's. TERM
  // becomes the stop signal, and a second TERM kills. They are taken from the calling thread: in a
  // process of several threads the others must block them.
  bool forward_signals = true;
};

struct BundleEnd {
  // The command's exit status, 128 + the signal that ended it, or what StartFailureStatus says.
  int status = 0;
  // Where it never ran: the runtime's words.
  std::optional<std::string> start_failure;
};

// Whatever happens, nothing is left of the container in the runtime.
Result<BundleEnd> RunBundle(const Runtime& runtime, const BundleRun& run, const RunHooks& hooks);

}  // namespace layerfs

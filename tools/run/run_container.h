// SPDX-License-Identifier: Apache-2.0
// RunContainer: an image's reference → a container in the foreground, with its mount, its layer and
// its place among this machine's containers; and nothing of it left but what is to be kept.
// One thread at a time, in a process without other threads. For root, or root of a user namespace
// (user_namespace.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "tools/run/run_bundle.h"
#include "tools/run/run_options.h"

namespace layerfs {

struct RunRequest {
  std::string state_directory;
  std::string program;                   // this executable, for its mount
  std::vector<std::string> mount_words;  // options of `layerfs mount`: cache, registry, platform
  std::string image;                     // with absolute paths
  RunOptions options;
  std::string name;             // empty: made from its id
  std::string layer_directory;  // absolute; empty: the container's own
  std::string runtime;          // empty: the one that fits
  bool remove = false;
  // In the background: nothing is asked of the caller's streams, what the container says goes to
  // its log, and `on_started` is called with its name once its command runs.
  bool detached = false;
  std::function<void(const std::string& name)> on_started;
};

// What the container's command returned, or what docker run returns for one that never ran
// (BundleEnd::start_failure then says why). Errors are those of everything before that.
Result<BundleEnd> RunContainer(const RunRequest& request);
// Runs a container of that name again, on what its layer holds.
Result<BundleEnd> StartContainer(const std::string& state_directory, const std::string& name,
                                 const std::string& program);

}  // namespace layerfs

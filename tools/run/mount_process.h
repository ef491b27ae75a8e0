// SPDX-License-Identifier: Apache-2.0
// MountProcess: an image's mount in a process of its own, so that it outlives whoever looks at a
// container and no signal of a terminal ends it.
// One thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"
#include "index/base/json.h"
#include "tools/run/child_process.h"

namespace layerfs {

class MountProcess {
 public:
  // Runs `PROGRAM mount --foreground --report-fd N WORDS… IMAGE MOUNT_POINT` and waits for the
  // mount to answer. Where it fails, the process has said why on standard error.
  struct Options {
    std::string program;             // this executable
    std::vector<std::string> words;  // options of `layerfs mount`
    std::string image;
    std::string mount_point;
    // It ends with its starter, however that ends; else it goes on.
    bool ends_with_starter = false;
    // Looked at while the mount is not there: true ends the process, and Start with kCancelled.
    std::function<bool()> is_cancelled;
  };
  static Result<MountProcess> Start(const Options& options);

  pid_t pid() const { return process_.pid(); }
  // The whole of the image's config.
  const Json& image_config() const { return config_; }
  // Unmounts and waits for the process; where somebody still has a file open after `patience`, the
  // mount ends when they let go, and nobody waits for that.
  Status End(std::chrono::milliseconds patience = {});

 private:
  MountProcess(ChildProcess process, UniqueFd lifeline, std::string mount_point, Json config)
      : process_(std::move(process)),
        lifeline_(std::move(lifeline)),
        mount_point_(std::move(mount_point)),
        config_(std::move(config)) {}

  ChildProcess process_;
  UniqueFd lifeline_;
  std::string mount_point_;
  Json config_;
};

}  // namespace layerfs

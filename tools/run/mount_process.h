// SPDX-License-Identifier: Apache-2.0
// MountProcess: an image's mount in a process of its own, so that it outlives whoever looks at a
// container and no signal of a terminal ends it.
// One thread at a time.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "index/base/error.h"
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
    // Out of reach of the terminal's signals; else it ends with them, as its starter does.
    bool own_session = true;
  };
  static Result<MountProcess> Start(const Options& options);

  pid_t pid() const { return process_.pid(); }
  // The whole of the image's config.
  const Json& image_config() const { return config_; }
  // Unmounts and waits for the process; where somebody still has a file open after `patience`, the
  // mount ends when they let go, and nobody waits for that.
  Status End(std::chrono::milliseconds patience = {});

 private:
  MountProcess(ChildProcess process, std::string mount_point, Json config)
      : process_(std::move(process)),
        mount_point_(std::move(mount_point)),
        config_(std::move(config)) {}

  ChildProcess process_;
  std::string mount_point_;
  Json config_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ChildProcess: another program, started with exactly the descriptors that it is given and the
// signals that a fresh program has, whatever the caller blocks or ignores.
// Start is thread-safe; an object is one thread at a time.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> arguments;            // the first is the program's path
    std::vector<std::pair<int, int>> descriptors;  // ours → the child's; -1: left as it is
    bool new_session = false;                      // away from the terminal's signals
  };
  // Whoever does not wait for the child leaves it behind when this ends.
  static Result<ChildProcess> Start(const Options& options);

  pid_t pid() const { return pid_; }
  // The exit status, or 128 + the signal that ended it.
  Result<int> Wait();

 private:
  explicit ChildProcess(pid_t pid, std::string name) : pid_(pid), name_(std::move(name)) {}

  pid_t pid_;
  std::string name_;
};

// As Wait, for a process that is a child by adoption.
Result<int> WaitForProcess(pid_t pid, const std::string& name);

}  // namespace layerfs

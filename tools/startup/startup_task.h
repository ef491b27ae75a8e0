// SPDX-License-Identifier: Apache-2.0
// StartupTask: an image's program, run over a root directory to see when it is ready: in PID, IPC
// and mount namespaces of its own, on a scratch layer in memory (kernel overlayfs), with a
// container's devices and capabilities and this machine's name servers and network (task_root.h).
// For measuring and recording; `layerfs run` is for running. Needs root. One thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"
#include "index/base/json.h"
#include "tools/run/image_user.h"
#include "tools/run/lifeline.h"
#include "tools/startup/ready_condition.h"

namespace layerfs {

struct TaskSpec {
  std::string root;
  std::string scratch;  // a directory to mount the scratch layer on, out of sight; made if missing
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::string directory = "/";
  ImageUser user;
  // What `layerfs run` makes of the image's config, mounted or unpacked at `root`; with `command`
  // in the place of its Cmd where it is not empty.
  static Result<TaskSpec> Make(const Json& config, const std::vector<std::string>& command,
                               const std::string& root);
};

class StartupTask {
 public:
  static Result<std::unique_ptr<StartupTask>> Start(const TaskSpec& spec);
  // A program of this machine, as it is: another container engine's.
  static Result<std::unique_ptr<StartupTask>> StartProgram(const std::vector<std::string>& words);
  ~StartupTask();  // As Stop.
  StartupTask(const StartupTask&) = delete;
  StartupTask& operator=(const StartupTask&) = delete;

  // Waits until it is ready. kTimeout; kCancelled, with its last words, where it ended first, and
  // where a signal waits to end this process (ending_signals.h).
  Status WaitReady(const ReadyCondition& condition, std::chrono::milliseconds timeout);
  // Ends all of its processes; its scratch layer goes with them. So does our own end, by any means.
  void Stop();

 private:
  StartupTask(int pid, UniqueFd output, UniqueFd lifeline);
  // `run` becomes the new process, its output ours to read. Where it watches `lifeline`, it ends
  // with that; else it is killed.
  static Result<std::unique_ptr<StartupTask>> Fork(Lifeline lifeline,
                                                   const std::function<void()>& run);
  // What it has said since the last call, by line; false once it has ended.
  bool TakeLines(std::vector<std::string>& lines, std::chrono::milliseconds wait);

  int pid_;
  UniqueFd output_;
  UniqueFd lifeline_;
  std::string partial_line_;
  std::string last_words_;
};

}  // namespace layerfs

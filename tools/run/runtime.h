// SPDX-License-Identifier: Apache-2.0
// Runtime: the OCI runtime (runc or crun) that starts containers, as a command line (the runtime
// command line interface of opencontainers/runtime-tools, which both have).
// Values; thread-safe.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

// How the machine has its control groups (cgroups(7)).
enum class CgroupMode {
  kNone,     // not mounted
  kLegacy,   // version 1 only
  kHybrid,   // version 1, and version 2 beside it
  kUnified,  // version 2 only
};
CgroupMode DetectCgroups();

struct FoundRuntimes {
  std::optional<std::string> crun;  // the path
  std::optional<std::string> runc;
};
FoundRuntimes FindRuntimes();

// `wanted`: empty, a name or a path. By itself crun, which starts faster, where it takes this
// machine's control groups as they are; else runc where there is one. kNotFound says what is
// missing and what would help.
Result<std::string> ChooseRuntime(const std::string& wanted, const FoundRuntimes& found,
                                  CgroupMode cgroups);

// The path of a program by PATH and the directories for administrators.
std::optional<std::string> FindProgram(const std::string& name);

class Runtime {
 public:
  // `state` is the directory in which the runtime keeps its containers.
  Runtime(std::string program, std::string state)
      : program_(std::move(program)), state_(std::move(state)) {}

  const std::string& program() const { return program_; }

  struct Stdio {
    int in = -1;
    int out = -1;
    int err = -1;
  };
  struct CreateOptions {
    std::string bundle;
    std::string id;
    std::string pid_file;
    std::string log_file;
    std::string console_socket;  // with a terminal only
    Stdio stdio;                 // becomes the container's, where it has no terminal
  };
  // The container's first process, which waits for Start. An error carries the runtime's words.
  Result<pid_t> Create(const CreateOptions& options) const;
  Status Start(const std::string& id, const std::string& log_file) const;
  // Kills whatever is left of the container and forgets it; no container of that name is success.
  Status Delete(const std::string& id) const;

 private:
  Result<int> Call(const std::vector<std::string>& arguments, const Stdio& stdio) const;

  std::string program_;
  std::string state_;
};

// What docker run's exit status tells of a container that could not be started: 127 for a command
// that is not there, 126 for one that cannot be run, 125 for everything else. By the runtime's
// words, as Docker does.
int StartFailureStatus(const std::string& message);

}  // namespace layerfs

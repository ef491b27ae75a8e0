// SPDX-License-Identifier: Apache-2.0
#include "tools/run/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "index/base/file.h"

namespace layerfs {
namespace {

// posix_spawn's two descriptions, which have to be destroyed.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

void SetSignals(SpawnPlan& plan, bool new_session) {
  sigset_t none;
  ::sigemptyset(&none);
  sigset_t all;
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&plan.attributes, &none);
  ::posix_spawnattr_setsigdefault(&plan.attributes, &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (new_session) flags = static_cast<short>(flags | POSIX_SPAWN_SETSID);
  ::posix_spawnattr_setflags(&plan.attributes, flags);
}

}  // namespace

Result<ChildProcess> ChildProcess::Start(const Options& options) {
  SpawnPlan plan;
  SetSignals(plan, options.new_session);
  // First out of the way of the numbers that are to be filled, then into place.
  constexpr int kAboveTargets = 64;
  std::vector<UniqueFd> moved;
  for (const auto& [ours, theirs] : options.descriptors) {
    if (ours < 0) continue;
    UniqueFd copy(::fcntl(ours, F_DUPFD_CLOEXEC, kAboveTargets));
    if (!copy.valid()) return FailErrno(options.arguments.front(), errno);
    ::posix_spawn_file_actions_adddup2(&plan.actions, copy.get(), theirs);
    moved.push_back(std::move(copy));
  }
  std::vector<char*> arguments;
  arguments.reserve(options.arguments.size() + 1);
  for (const std::string& argument : options.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));  // posix_spawn does not write to it.
  }
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, arguments.front(), &plan.actions, &plan.attributes,
                                  arguments.data(), environ);
  if (error != 0) return FailErrno(options.arguments.front(), error);
  return ChildProcess(pid, options.arguments.front());
}

Result<int> ChildProcess::Wait() { return WaitForProcess(pid_, name_); }

Result<int> WaitForProcess(pid_t pid, const std::string& name) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return FailErrno(name, errno);
  }
  constexpr int kSignalled = 128;  // as shells have it
  return WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace layerfs

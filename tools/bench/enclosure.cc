// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/enclosure.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr int kSignalled = 128;  // as shells have it
constexpr int kNotEnclosed = 1;

// The set of signals that end everything, and the one that says that it has ended.
sigset_t WaitedFor() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGHUP, SIGINT, SIGTERM, SIGCHLD}) ::sigaddset(&set, signal);
  return set;
}

Status Mount(const char* type, const std::string& target, unsigned long flags) {
  if (::mount(type, target.c_str(), type, flags, nullptr) == 0) return {};
  return FailErrno(target, errno);
}

// In the new process: its own view of the machine.
Status Enclose(const std::vector<std::string>& hidden) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::unshare(CLONE_NEWNS) != 0) return FailErrno("mount namespace", errno);
  // What is unmounted outside goes here too.
  LAYERFS_CHECK_OK(Mount("none", "/", MS_REC | MS_SLAVE));
  LAYERFS_CHECK_OK(Mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  for (const std::string& directory : hidden) {
    LAYERFS_CHECK_OK(MakeDirectories(directory));
    LAYERFS_CHECK_OK(Mount("tmpfs", directory, MS_NOSUID | MS_NODEV));
  }
  return {};
}

int StatusOf(int status) {
  return WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Result<int> RunEnclosed(const std::vector<std::string>& hidden, const std::function<int()>& work) {
  std::fflush(nullptr);
  const sigset_t waited = WaitedFor();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &waited, &before);
  if (::unshare(CLONE_NEWPID) != 0) return FailErrno("PID namespace", errno);
  const pid_t pid = ::fork();
  if (pid < 0) return FailErrno("fork", errno);
  if (pid == 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    const Status enclosed = Enclose(hidden);
    if (!enclosed.has_value()) std::fprintf(stderr, "%s\n", enclosed.error().context.c_str());
    const int status = enclosed.has_value() ? work() : kNotEnclosed;
    std::fflush(nullptr);
    std::_Exit(status);  // The end of a namespace's first process is that of all in it.
  }
  int interrupted = 0;
  while (true) {
    const int signal = ::sigwaitinfo(&waited, nullptr);
    if (signal > 0 && signal != SIGCHLD) {
      interrupted = signal;
      ::kill(pid, SIGKILL);
    }
    int status = 0;
    const pid_t ended = ::waitpid(pid, &status, interrupted != 0 ? 0 : WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR)) continue;
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    if (ended < 0) return FailErrno("waitpid", errno);
    return interrupted != 0 ? kSignalled + interrupted : StatusOf(status);
  }
}

void RemoveControlGroups(const std::string& prefix) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  std::vector<fs::path> found;
  for (auto it = fs::recursive_directory_iterator(
           "/sys/fs/cgroup", fs::directory_options::skip_permission_denied, ignored);
       it != fs::recursive_directory_iterator(); it.increment(ignored)) {
    if (it->is_directory(ignored) && it->path().string().find("/" + prefix) != std::string::npos) {
      found.push_back(it->path());
    }
  }
  // What is inside comes behind its directory. Theirs are not files that anybody could remove.
  for (auto it = found.rbegin(); it != found.rend(); ++it) ::rmdir(it->c_str());
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/startup_task.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "tools/run/bundle.h"
#include "tools/run/image_defaults.h"
#include "tools/run/root_directory.h"
#include "tools/run/run_options.h"
#include "tools/startup/ending_signals.h"
#include "tools/startup/task_root.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kPoll{5};
constexpr size_t kLastWords = 2000;
// Of a line that does not end its end is looked at.
constexpr size_t kLongestLine = size_t{64} << 10;

// What follows runs in the new process: async-signal-safe as far as it matters, one thread.

// Made where it is missing.
void EnterDirectory(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    ::mkdir(path.substr(0, at).c_str(), 0755);
  }
  ::mkdir(path.c_str(), 0755);
  if (::chdir(path.c_str()) != 0) EndTask(path.c_str());
}

void BecomeUser(const ImageUser& user) {
  if (::setgroups(user.groups.size(), user.groups.data()) != 0 || ::setgid(user.gid) != 0 ||
      ::setuid(user.uid) != 0) {
    EndTask("user");
  }
}

[[noreturn]] void Execute(const TaskSpec& spec) {
  std::vector<char*> arguments;
  for (const std::string& word : spec.arguments)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::clearenv();
  for (const std::string& variable : spec.environment)
    ::putenv(const_cast<char*>(variable.c_str()));
  ::execvp(arguments[0], arguments.data());
  EndTask(arguments[0]);
}

// Until the process has ended, or the lifeline, which ends it.
void WaitFor(pid_t process, int lifeline) {
  const UniqueFd ended(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  pollfd polled[] = {{ended.get(), POLLIN, 0}, {lifeline, POLLIN, 0}};
  while (::poll(polled, 2, -1) < 0 && errno == EINTR) {
  }
  if (polled[0].revents == 0) ::kill(process, SIGKILL);
}

// The middle process: it makes the namespaces, and its child is their first process, whose end is
// that of all in them.
[[noreturn]] void RunInNamespaces(const TaskSpec& spec, int lifeline) {
  ::setsid();  // A terminal's signals are for who has started us.
  if (::unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
    EndTask("namespaces");
  const pid_t first = ::fork();
  if (first < 0) EndTask("fork");
  if (first == 0) {
    EnterTaskRoot(spec.root, spec.scratch);
    EnterDirectory(spec.directory);
    BoundTaskCapabilities();
    BecomeUser(spec.user);
    DropTaskCapabilities();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // Another user loses it.
    Execute(spec);
  }
  WaitFor(first, lifeline);
  int status = 0;
  while (::waitpid(first, &status, 0) < 0 && errno == EINTR) {
  }
  std::_Exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace

Result<TaskSpec> TaskSpec::Make(const Json& config, const std::vector<std::string>& command,
                                const std::string& root) {
  LAYERFS_TRY(image, ImageDefaults::FromConfig(config));
  LAYERFS_TRY(directory, RootDirectory::Open(root));
  RunOptions options;
  options.command = command;
  TaskSpec spec;
  spec.root = root;
  LAYERFS_TRY(arguments, MakeArguments(image, options));
  spec.arguments = std::move(arguments);
  LAYERFS_TRY(user, directory.FindUser(image.user));
  spec.user = std::move(user);
  spec.environment = MakeEnvironment(image, options, {"localhost", spec.user.home});
  if (!image.working_directory.empty()) {
    LAYERFS_TRY_IN(path, CleanAbsolutePath(image.working_directory), "working directory");
    spec.directory = path;
  }
  return spec;
}

StartupTask::StartupTask(int pid, UniqueFd output, UniqueFd lifeline)
    : pid_(pid), output_(std::move(output)), lifeline_(std::move(lifeline)) {}

StartupTask::~StartupTask() { Stop(); }

Result<std::unique_ptr<StartupTask>> StartupTask::Start(const TaskSpec& spec) {
  LAYERFS_TRY(lifeline, Lifeline::Make());
  const int watched = lifeline.watched.get();
  return Fork(std::move(lifeline), [&] { RunInNamespaces(spec, watched); });
}

Result<std::unique_ptr<StartupTask>> StartupTask::StartProgram(
    const std::vector<std::string>& words) {
  return Fork({}, [&] {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    EndTask(arguments[0]);
  });
}

Result<std::unique_ptr<StartupTask>> StartupTask::Fork(Lifeline lifeline,
                                                       const std::function<void()>& run) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno("pipe", errno);
  UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return FailErrno("fork", errno);
  if (pid == 0) {
    const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::dup2(null, 0);
    ::dup2(write_end.get(), 1);
    ::dup2(write_end.get(), 2);
    sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    lifeline.held.Reset();
    run();
    std::_Exit(125);
  }
  return std::unique_ptr<StartupTask>(
      new StartupTask(pid, std::move(read_end), std::move(lifeline.held)));
}

bool StartupTask::TakeLines(std::vector<std::string>& lines, std::chrono::milliseconds wait) {
  pollfd readable{output_.get(), POLLIN, 0};
  if (::poll(&readable, 1, static_cast<int>(wait.count())) <= 0) return true;
  char buffer[4096];
  const ssize_t got = ::read(output_.get(), buffer, sizeof buffer);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  for (const char c : std::string_view(buffer, static_cast<size_t>(got))) {
    if (c == '\n') lines.push_back(std::exchange(partial_line_, {}));
    if (c != '\n') partial_line_.push_back(c);
    last_words_.push_back(c);
  }
  if (last_words_.size() > kLastWords) last_words_.erase(0, last_words_.size() - kLastWords);
  if (partial_line_.size() > kLongestLine) {
    partial_line_.erase(0, partial_line_.size() - kLongestLine / 2);
  }
  // What does not go on for now may be a prompt, or the last line.
  const bool rests = got == 0 || ::poll(&readable, 1, 0) == 0;
  if (rests && !partial_line_.empty()) lines.push_back(partial_line_);
  return got > 0;
}

Status StartupTask::WaitReady(const ReadyCondition& condition, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const auto wait = condition.http.empty() ? std::chrono::milliseconds(100) : kPoll;
  bool open = true;
  while (std::chrono::steady_clock::now() < deadline) {
    if (EndingSignals::Pending()) return Fail(ErrorCode::kCancelled, "a signal ended it");
    std::vector<std::string> lines;
    if (open) open = TakeLines(lines, wait);
    for (const std::string& line : lines) {
      if (!condition.pattern.empty() && Matches(condition.pattern, line)) return {};
    }
    if (!condition.http.empty() && IsServed(condition.http)) return {};
    if (open) continue;
    if (pid_ < 0) return Fail(ErrorCode::kCancelled, "the task has ended");
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_) return FailErrno("waitpid", errno);
    pid_ = -1;
    if (condition.exit && WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return Fail(ErrorCode::kCancelled,
                "the task ended with status " +
                    std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1) +
                    " before it was ready; its last words: " + last_words_);
  }
  return Fail(ErrorCode::kTimeout,
              "the task was not ready in time; its last words: " + last_words_);
}

void StartupTask::Stop() {
  if (pid_ > 0) {
    if (!lifeline_.valid()) ::kill(pid_, SIGKILL);
    lifeline_.Reset();
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
}

}  // namespace layerfs

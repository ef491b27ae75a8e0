// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/child_program.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>

namespace layerfs {
namespace {

constexpr uint64_t kMaxLog = uint64_t{64} << 20;
constexpr size_t kLastWords = 1500;

}  // namespace

Result<ChildProgram> ChildProgram::Start(const std::vector<std::string>& words,
                                         const std::string& log) {
  LAYERFS_TRY(output, OpenFile(log, O_WRONLY | O_CREAT | O_APPEND));
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return FailErrno("fork", errno);
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
    ::dup2(output.get(), 1);
    ::dup2(output.get(), 2);
    ::execvp(arguments[0], arguments.data());
    std::_Exit(127);
  }
  return ChildProgram(pid, log);
}

ChildProgram::~ChildProgram() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string ChildProgram::LastWords() const {
  const auto text = ReadFile(log_, kMaxLog);
  if (!text.has_value()) return {};
  const std::string_view all = AsText(*text);
  return std::string(all.substr(all.size() > kLastWords ? all.size() - kLastWords : 0));
}

Status ChildProgram::Wait(std::chrono::milliseconds timeout) {
  const UniqueFd ended(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (!ended.valid()) return FailErrno("pidfd_open", errno);
  pollfd polled{ended.get(), POLLIN, 0};
  int ready = 0;
  while ((ready = ::poll(&polled, 1, static_cast<int>(timeout.count()))) < 0 && errno == EINTR) {
  }
  if (ready == 0) {
    return Fail(ErrorCode::kTimeout, "has not ended in " + std::to_string(timeout.count() / 1000) +
                                         " s: " + LastWords());
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Fail(ErrorCode::kIo, "ended with status " +
                                  std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1) +
                                  ": " + LastWords());
}

bool ChildProgram::running() {
  if (pid_ < 0) return false;
  if (::waitpid(pid_, nullptr, WNOHANG) == 0) return true;
  pid_ = -1;
  return false;
}

void ChildProgram::End() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);
  for (int i = 0; i < 1000 && running(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

Status WaitForServer(ChildProgram& server, const std::function<bool()>& answers) {
  constexpr int kAttempts = 500;
  constexpr std::chrono::milliseconds kLookAgain{20};
  for (int i = 0; i < kAttempts && server.running(); ++i) {
    if (answers()) return {};
    std::this_thread::sleep_for(kLookAgain);
  }
  return Fail(ErrorCode::kIo, server.LastWords());
}

Status RunProgram(const std::vector<std::string>& words, const std::string& log,
                  std::chrono::milliseconds timeout) {
  LAYERFS_TRY(child, ChildProgram::Start(words, log));
  LAYERFS_CHECK_OK_IN(child.Wait(timeout), words[0]);
  return {};
}

Result<int> FreePort() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (!fd.valid() || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return FailErrno("a port", errno);
  }
  return ntohs(address.sin_port);
}

}  // namespace layerfs

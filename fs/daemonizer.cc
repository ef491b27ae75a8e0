// SPDX-License-Identifier: Apache-2.0
#include "fs/daemonizer.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

namespace layerfs {
namespace {

// The child's word: one byte of exit status, then the message.
std::string ReadWord(int fd) {
  std::string word;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return word;
    word.append(buffer, static_cast<size_t>(got));
  }
}

[[noreturn]] void EndAsParent(int from_child, pid_t child, const std::string& message_prefix) {
  const std::string word = ReadWord(from_child);
  if (word.empty()) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    std::fprintf(stderr, "%sthe daemon ended before the mount answered (%s %d)\n",
                 message_prefix.c_str(), WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    std::_Exit(1);
  }
  if (word[0] == 0) {
    std::fputs(word.c_str() + 1, stdout);
    std::fflush(stdout);
  } else {
    std::fprintf(stderr, "%s%s\n", message_prefix.c_str(), word.c_str() + 1);
  }
  std::_Exit(static_cast<unsigned char>(word[0]));
}

}  // namespace

Result<Daemonizer> Daemonizer::Fork(const std::string& message_prefix) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno("pipe", errno);
  UniqueFd from_child(ends[0]);
  UniqueFd to_parent(ends[1]);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return FailErrno("fork", errno);
  if (child > 0) {
    to_parent.Reset();
    EndAsParent(from_child.get(), child, message_prefix);
  }
  ::setsid();
  return Daemonizer(std::move(to_parent));
}

void Daemonizer::LeaveCaller() {
  if (::chdir("/") != 0) {  // "/" is always there; staying would pin the caller's directory.
  }
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2 && null >= 0; ++fd) ::dup2(null, fd);
  if (null > 2) ::close(null);
}

void Daemonizer::ReportSuccess(const std::string& output) {
  const std::string word = std::string(1, '\0') + output;
  // Nobody is left to be told where it fails: the parent was killed.
  static_cast<void>(WriteFull(to_parent_.get(), AsBytes(word)));
  to_parent_.Reset();
}

bool Daemonizer::ReportFailure(const std::string& message, int exit_status) {
  if (!to_parent_.valid()) return false;
  const std::string word = std::string(1, static_cast<char>(exit_status)) + message;
  const Status put = WriteFull(to_parent_.get(), AsBytes(word));
  to_parent_.Reset();
  return put.has_value();
}

}  // namespace layerfs

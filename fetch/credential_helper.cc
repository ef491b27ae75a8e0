// SPDX-License-Identifier: Apache-2.0
#include "fetch/credential_helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>

#include "index/base/file.h"
#include "index/base/json.h"

namespace layerfs {
namespace {

constexpr size_t kMaxAnswerBytes = 64 * 1024;

// The helper's stdin is a socket rather than a pipe, so that writing to one that does not listen
// raises no SIGPIPE.
struct Channels {
  UniqueFd input;          // ours
  UniqueFd helper_input;   // its stdin
  UniqueFd output;         // ours
  UniqueFd helper_output;  // its stdout
};

Result<Channels> OpenChannels() {
  int in[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0) {
    return FailErrno("socketpair", errno);
  }
  Channels channels{.input = UniqueFd(in[0]), .helper_input = UniqueFd(in[1])};
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) return FailErrno("pipe", errno);
  channels.output = UniqueFd(out[0]);
  channels.helper_output = UniqueFd(out[1]);
  return channels;
}

// The helper in a process group of its own, so that what it starts ends with it.
Result<pid_t> Spawn(const std::string& program, const Channels& channels) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, channels.helper_input.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, channels.helper_output.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A thread of ours may have signals blocked or ignored; the helper starts afresh.
  sigset_t none;
  sigset_t pipe_signal;
  sigemptyset(&none);
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &pipe_signal);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string name = program;
  std::string verb = "get";
  char* const arguments[] = {name.data(), verb.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, name.c_str(), &actions, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return FailErrno(program, error);
  return pid;
}

enum class Reading { kEnded, kLate, kTooLong };

// Everything up to the end of the pipe, within the deadline and kMaxAnswerBytes.
Reading ReadAll(int fd, std::chrono::steady_clock::time_point deadline, std::string* answer) {
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = left <= 0 ? 0 : poll(&wait, 1, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Reading::kLate;
    char piece[4096];
    const ssize_t got = read(fd, piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Reading::kEnded;
    answer->append(piece, static_cast<size_t>(got));
    explicit_bzero(piece, sizeof piece);
    if (answer->size() > kMaxAnswerBytes) return Reading::kTooLong;
  }
}

// Reaps the helper by the deadline; kills it otherwise, and at once when it was not read to its
// end.
Result<int> Reap(pid_t pid, Reading reading, std::chrono::steady_clock::time_point deadline) {
  int status = 0;
  while (reading == Reading::kEnded && std::chrono::steady_clock::now() < deadline) {
    const pid_t reaped = waitpid(pid, &status, WNOHANG);
    if (reaped == pid) return status;
    if (reaped < 0 && errno != EINTR) return FailErrno("waitpid", errno);
    poll(nullptr, 0, 2);
  }
  kill(-pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (reading == Reading::kTooLong) {
    return Fail(ErrorCode::kTooLarge,
                "its answer is too long: more than " + std::to_string(kMaxAnswerBytes) + " bytes");
  }
  return Fail(ErrorCode::kTimeout, "it did not answer in time");
}

Result<HelperAnswer> ParseAnswer(const std::string& text) {
  auto json = ParseJson(AsBytes(text), kMaxAnswerBytes);
  if (!json) return Fail(ErrorCode::kCorrupt, "its answer is not JSON");
  LAYERFS_TRY(username, JsonString(*json, "Username"));
  LAYERFS_TRY(secret, JsonString(*json, "Secret"));
  return HelperAnswer{username, Secret(std::move(secret))};
}

}  // namespace

Result<HelperAnswer> RunCredentialHelper(const std::string& name, const std::string& server,
                                         std::chrono::milliseconds timeout) {
  const bool plain = !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (!plain) return Fail(ErrorCode::kInvalidArgument, "credential helper: not a program's name");
  const std::string program = "docker-credential-" + name;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  LAYERFS_TRY(channels, OpenChannels());
  LAYERFS_TRY(pid, Spawn(program, channels));
  channels.helper_input.Reset();
  channels.helper_output.Reset();
  // The name fits into the socket's buffer, so this does not block. A helper that does not read it
  // is found out by its answer.
  (void)send(channels.input.get(), server.data(), server.size(), MSG_NOSIGNAL);
  channels.input.Reset();
  std::string answer;
  const Reading reading = ReadAll(channels.output.get(), deadline, &answer);
  LAYERFS_TRY_IN(status, Reap(pid, reading, deadline), program);
  const bool nothing_there = answer.find("credentials not found") != std::string::npos;
  const bool succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  auto parsed = succeeded ? ParseAnswer(answer) : Fail(ErrorCode::kIo, "it failed");
  explicit_bzero(answer.data(), answer.size());
  if (!succeeded && nothing_there) {
    return Fail(ErrorCode::kNotFound, program + ": nothing for " + server);
  }
  if (!parsed) return Fail(std::move(parsed).error().In(program));
  return parsed;
}

}  // namespace layerfs

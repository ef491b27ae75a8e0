// SPDX-License-Identifier: Apache-2.0
#include "tools/command.h"

#include <poll.h>

#include <cerrno>
#include <csignal>
#include <map>

namespace layerfs {
namespace {

// The texts live as long as the process, as the commands do; a CLI::App has no room for them.
std::map<const CLI::App*, CommandHelp>& HelpTexts() {
  static std::map<const CLI::App*, CommandHelp> texts;
  return texts;
}

}  // namespace

void Document(CLI::App& app, CommandHelp help) { HelpTexts()[&app] = std::move(help); }

const CommandHelp* FindHelp(const CLI::App* app) {
  const auto it = HelpTexts().find(app);
  return it != HelpTexts().end() ? &it->second : nullptr;
}

std::string CommandName(const CLI::App* app) {
  std::string name = app->get_name();
  for (app = app->get_parent(); app != nullptr; app = app->get_parent()) {
    name.insert(0, app->get_name() + " ");
  }
  return name;
}

ExitStatus ExitStatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return ExitStatus::kUsage;
    case ErrorCode::kNotFound:
      return ExitStatus::kNotFound;
    case ErrorCode::kUnsupported:
      return ExitStatus::kUnsupported;
    case ErrorCode::kCorrupt:
    case ErrorCode::kDigestMismatch:
    case ErrorCode::kTooLarge:
      return ExitStatus::kCorrupt;
    case ErrorCode::kNetwork:
    case ErrorCode::kTimeout:
      return ExitStatus::kNetwork;
    case ErrorCode::kPermission:
    case ErrorCode::kUnauthorized:
      return ExitStatus::kPermission;
    case ErrorCode::kExists:
    case ErrorCode::kBusy:
    case ErrorCode::kIo:
    case ErrorCode::kNoSpace:
    case ErrorCode::kCancelled:
      return ExitStatus::kFailure;
  }
  return ExitStatus::kFailure;
}

Status FlushOutput(const CommandIo& io) {
  errno = 0;
  if (std::fflush(io.out) == 0 && std::ferror(io.out) == 0) return {};
  const int cause = errno;
  pollfd reader{::fileno(io.out), POLLOUT, 0};
  const bool gone = ::poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR) != 0;
  if (cause == EPIPE || gone) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  if (cause != 0) return FailErrno("standard output", cause);
  return Fail(ErrorCode::kIo, "standard output: not all of it could be written");
}

}  // namespace layerfs

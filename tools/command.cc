// SPDX-License-Identifier: Apache-2.0
#include "tools/command.h"

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

std::unexpected<Error> FailOutput() {
  const int cause = errno;
  if (cause == EPIPE) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  return FailErrno("standard output", cause);
}

}  // namespace layerfs

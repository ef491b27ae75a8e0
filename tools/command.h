// SPDX-License-Identifier: Apache-2.0
// Command: one subcommand of layerfs. It declares its options on a CLI11 app and runs once they
// are parsed. cli.cc lists the commands; nothing else knows them all.
// One thread at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "index/base/error.h"

namespace layerfs {

// Where a command writes: data to `out`, talk to `err`. Tests give their own.
struct CommandIo {
  std::FILE* out = stdout;
  std::FILE* err = stderr;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
};

// What the exit status tells; `layerfs help exit-status` and every --help list it.
enum class ExitStatus : int {
  kSuccess = 0,
  kFailure = 1,      // any other error: local I/O, something busy
  kUsage = 2,        // the command line; what it names is of the wrong kind
  kNotFound = 3,     // no such image, file, mount
  kUnsupported = 4,  // an image that is not converted; something this machine cannot do
  kCorrupt = 5,      // bytes that break their format, digest or limits; damage found by check
  kNetwork = 6,      // the registry: connection, timeout, server trouble
  kPermission = 7,   // credentials or rights
};
ExitStatus ExitStatusOf(ErrorCode code);
// Brings out what is buffered, and tells whether all that was written so far has been taken. Where
// the reader of a pipe has gone, as in `layerfs ls … | head`, the process ends by SIGPIPE and says
// nothing, as filters do.
Status FlushOutput(const CommandIo& io);

// "layerfs cache prune": the words that lead to `app`.
std::string CommandName(const CLI::App* app);

class Command {
 public:
  virtual ~Command() = default;
  // Adds the subcommand to `parent` and its options to it; the options' targets are members.
  virtual CLI::App* Declare(CLI::App& parent) = 0;
  // A command with subcommands finds out which was given by their parsed().
  virtual Result<ExitStatus> Run(CommandIo& io) = 0;
  // What wrong usage ends with.
  virtual ExitStatus usage_status() const { return ExitStatus::kUsage; }
};

// What a command's --help says beyond its options (tools/help_formatter.h lays it out).
struct CommandHelp {
  std::string description;            // paragraphs, indented by two
  std::vector<std::string> examples;  // command lines
};
void Document(CLI::App& app, CommandHelp help);
const CommandHelp* FindHelp(const CLI::App* app);  // null where there is none

// Every command has these.
struct LogOptions {
  bool verbose = false;
  bool debug = false;
  std::string file;
  std::string format = "text";
};

std::unique_ptr<Command> MakeAttachCommand();
std::unique_ptr<Command> MakeBenchCommand();
std::unique_ptr<Command> MakeCacheCommand();
std::unique_ptr<Command> MakeCatCommand();
std::unique_ptr<Command> MakeCheckCommand();
std::unique_ptr<Command> MakeCommitCommand();
std::unique_ptr<Command> MakeConvertCommand();
std::unique_ptr<Command> MakeDiffCommand();
std::unique_ptr<Command> MakeInspectCommand();
std::unique_ptr<Command> MakeLsCommand();
std::unique_ptr<Command> MakeLogsCommand();
std::unique_ptr<Command> MakeMountCommand();
std::unique_ptr<Command> MakePsCommand();
std::unique_ptr<Command> MakeRmCommand();
std::unique_ptr<Command> MakeRunCommand();
std::unique_ptr<Command> MakeStartCommand();
std::unique_ptr<Command> MakePullCommand();
std::unique_ptr<Command> MakeRecordCommand();
std::unique_ptr<Command> MakeStatCommand();
std::unique_ptr<Command> MakeStopCommand();
std::unique_ptr<Command> MakeTraceCommand();
std::unique_ptr<Command> MakeUmountCommand();

}  // namespace layerfs

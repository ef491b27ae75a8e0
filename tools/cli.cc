// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.h"

#include <algorithm>
#include <cassert>
#include <memory>
#include <string_view>

#include "index/base/log.h"
#include "tools/help_formatter.h"
#include "tools/suggest.h"
#include "tools/text.h"

#ifndef LAYERFS_VERSION
#error "CMake defines LAYERFS_VERSION"
#endif

namespace layerfs {
namespace {

struct Entry {
  std::unique_ptr<Command> command;
  CLI::App* app = nullptr;
};

struct NamedCommand {
  std::string_view name;
  std::unique_ptr<Command> (*make)();
};
constexpr NamedCommand kCommands[] = {
    {"convert", MakeConvertCommand}, {"mount", MakeMountCommand}, {"umount", MakeUmountCommand},
    {"pull", MakePullCommand},       {"run", MakeRunCommand},     {"start", MakeStartCommand},
    {"stop", MakeStopCommand},       {"logs", MakeLogsCommand},   {"ps", MakePsCommand},
    {"rm", MakeRmCommand},           {"diff", MakeDiffCommand},   {"commit", MakeCommitCommand},
    {"inspect", MakeInspectCommand}, {"ls", MakeLsCommand},       {"cat", MakeCatCommand},
    {"stat", MakeStatCommand},       {"check", MakeCheckCommand}, {"cache", MakeCacheCommand},
    {"record", MakeRecordCommand},   {"trace", MakeTraceCommand}, {"attach", MakeAttachCommand},
    {"bench", MakeBenchCommand}};

// Only `wanted` where there is such a command: the words of all would stay in each mount's memory.
std::vector<Entry> DeclareCommands(CLI::App& root, LogOptions& log, std::string_view wanted) {
  std::vector<Entry> entries;
  const bool known =
      std::ranges::find(kCommands, wanted, &NamedCommand::name) != std::end(kCommands);
  for (const NamedCommand& named : kCommands) {
    if (known && named.name != wanted) continue;
    Entry entry;
    entry.command = named.make();
    entry.app = entry.command->Declare(root);
    assert(entry.app->get_name() == named.name);
    // docker run's -v is a volume.
    const bool v_is_taken = entry.app->get_option_no_throw("-v") != nullptr;
    entry.app->add_flag(v_is_taken ? "--verbose" : "-v,--verbose", log.verbose,
                        "Say more about what is done");
    entry.app->add_flag("--debug", log.debug, "Say everything");
    entry.app->add_option("--log", log.file, "Append the log to a file instead of stderr")
        ->type_name("FILE");
    entry.app
        ->add_option("--log-format", log.format, "A line of the log as text or as a JSON object")
        ->check(CLI::IsMember({"text", "json"}))
        ->type_name("text|json");
    entries.push_back(std::move(entry));
  }
  return entries;
}

// The words that could have been meant where `word` was written.
std::vector<std::string> KnownWords(const CLI::App& app, bool option) {
  std::vector<std::string> words;
  if (!option) {
    for (const CLI::App* command : app.get_subcommands({})) words.push_back(command->get_name());
    return words;
  }
  for (const CLI::Option* known : app.get_options()) {
    for (const std::string& name : known->get_lnames()) words.push_back("--" + name);
  }
  return words;
}

// Whether the word behind `word` is its value.
bool TakesValue(const CLI::App& app, const std::string& word) {
  if (!word.starts_with('-') || word.contains('=')) return false;
  const CLI::Option* const option = app.get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0;
}

const CLI::App* DeepestParsed(const CLI::App* app) {
  while (true) {
    const auto parsed = app->get_subcommands();
    if (parsed.empty()) return app;
    app = parsed.front();
  }
}

// CLI11's message, with the nearest known word where one was mistyped.
void ReportUsage(const CLI::App& root, const CLI::ParseError& error,
                 const std::vector<std::string>& arguments, CommandIo& io) {
  const CLI::App* const app = DeepestParsed(&root);
  const bool lacks_command =
      error.get_name() == "RequiredError" && !app->get_subcommands({}).empty();
  std::string message = lacks_command ? "a command is missing" : error.what();
  std::string suggestion;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const bool option = argument.starts_with("--");
    if (i > 0 && TakesValue(*app, arguments[i - 1])) continue;
    if (!option && app != &root && app->get_subcommands({}).empty()) continue;
    const std::string word = argument.substr(0, argument.find('='));
    const auto known = KnownWords(*app, option);
    if (std::find(known.begin(), known.end(), word) != known.end()) continue;
    if (!option && app != &root && argument == app->get_name()) continue;
    const auto near = Suggest(word, known);
    if (near.has_value() || (lacks_command && (option || !argument.starts_with('-')))) {
      message = "\"" + EscapeForTerminal(word) + "\" is not known";
      if (near.has_value()) suggestion = "; did you mean \"" + *near + "\"?";
      break;
    }
  }
  std::fprintf(io.err, "%s: %s%s\nTry \"%s --help\".\n", CommandName(app).c_str(), message.c_str(),
               suggestion.c_str(), CommandName(app).c_str());
}

Status StartLog(const LogOptions& log) {
  LogSettings settings{.path = log.file};
  if (!log.file.empty() || log.verbose) settings.level = LogLevel::kInfo;
  if (log.debug) settings.level = LogLevel::kDebug;
  if (log.format == "json") settings.format = LogFormat::kJson;
  return ConfigureLog(settings);
}

int RunCommand(Entry& entry, const LogOptions& log, CommandIo& io) {
  const auto report = [&](const Error& error) {
    std::fprintf(io.err, "%s: %s\n", CommandName(entry.app).c_str(),
                 EscapeMessage(error.context).c_str());
    return static_cast<int>(ExitStatusOf(error.code));
  };
  const Status started = StartLog(log);
  if (!started.has_value()) return report(started.error());
  const Result<ExitStatus> ended = entry.command->Run(io);
  if (!ended.has_value()) return report(ended.error());
  const Status written = FlushOutput(io);
  if (!written.has_value()) return report(written.error());
  return static_cast<int>(*ended);
}

int Print(const std::string& text, CommandIo& io) {
  std::fputs(text.c_str(), io.out);
  const Status written = FlushOutput(io);
  if (written.has_value()) return 0;
  std::fprintf(io.err, "layerfs: %s\n", written.error().context.c_str());
  return static_cast<int>(ExitStatusOf(written.error().code));
}

}  // namespace

int RunCli(std::vector<std::string> arguments, CommandIo& io) {
  CLI::App root("mounts container images before they are there", "layerfs");
  root.formatter(std::make_shared<ManPageFormatter>());
  root.set_version_flag("--version", "layerfs " LAYERFS_VERSION);
  root.require_subcommand(1);
  Document(
      root,
      {"  Converts container images into images with seekable, indexed layers, which stay "
       "ordinary\n"
       "  OCI images for everybody else, and mounts such images at once: what is read is fetched\n"
       "  when it is read, verified, and kept in a cache that all mounts share.\n"
       "\n"
       "  An IMAGE is written as skopeo writes it: "
       "docker://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST],\n"
       "  oci:DIRECTORY[:TAG], docker-archive:FILE[:NAME:TAG|:@N]; a word without a transport is "
       "taken\n"
       "  from a registry.",
       {"layerfs convert docker://registry.example.com/app:1 "
        "docker://registry.example.com/app:1-lazy",
        "layerfs mount docker://registry.example.com/app:1-lazy /mnt/app"}});
  LogOptions log;
  std::vector<Entry> entries =
      DeclareCommands(root, log, arguments.empty() ? std::string_view() : arguments.front());
  const std::vector<std::string> given = arguments;
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back.
  try {
    root.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    return Print(DeepestParsed(&root)->help(), io);
  } catch (const CLI::CallForVersion& version) {
    return Print(std::string(version.what()) + "\n", io);
  } catch (const CLI::ParseError& error) {
    ReportUsage(root, error, given, io);
    const auto entry =
        std::ranges::find_if(entries, [](const Entry& e) { return e.app->parsed(); });
    return static_cast<int>(entry == entries.end() ? ExitStatus::kUsage
                                                   : entry->command->usage_status());
  }
  for (Entry& entry : entries) {
    if (entry.app->parsed()) return RunCommand(entry, log, io);
  }
  return static_cast<int>(ExitStatus::kUsage);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/help_formatter.h"

#include <sstream>

#include "tools/command.h"

namespace layerfs {
namespace {

constexpr char kExitStatus[] =
    "EXIT STATUS\n"
    "  0  success\n"
    "  1  failure, such as a local disk's error or something that is in use\n"
    "  2  wrong usage, such as a directory or a device where a file is asked for\n"
    "  3  not found: an image, a file, a mount\n"
    "  4  unsupported: an image that is not converted, something this machine cannot do\n"
    "  5  damaged: bytes that break their format, their digest or a limit\n"
    "  6  network: no connection, a timeout, a server's error\n"
    "  7  permission: credentials or rights\n";

std::string Synopsis(const CLI::App& app, const std::string& full_name) {
  std::string line = "  " + full_name;
  if (!app.get_subcommands({}).empty()) return line + " COMMAND [OPTIONS] …";
  if (!app.get_options([](const CLI::Option* option) { return option->nonpositional(); }).empty()) {
    line += " [OPTIONS]";
  }
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    const std::string name = option->get_name(true);
    line += option->get_required() ? " " + name : " [" + name + "]";
    if (option->get_expected_max() > 1) line += "…";
  }
  // What follows is another program's command line.
  if (app.get_prefix_command()) line += " IMAGE [COMMAND [ARGUMENT…]]";
  return line;
}

}  // namespace

std::string ManPageFormatter::make_help(const CLI::App* app, std::string /*name*/,
                                        CLI::AppFormatMode mode) const {
  if (mode == CLI::AppFormatMode::Sub) return make_expanded(app);
  const std::string full_name = CommandName(app);
  std::ostringstream out;
  out << "NAME\n  " << full_name << " - " << app->get_description() << "\n\nSYNOPSIS\n"
      << Synopsis(*app, full_name) << "\n";
  if (const auto* help = FindHelp(app); help != nullptr && !help->description.empty()) {
    out << "\nDESCRIPTION\n" << help->description << "\n";
  }
  const auto commands = app->get_subcommands({});
  if (!commands.empty()) {
    out << "\nCOMMANDS\n";
    for (const CLI::App* command : commands) {
      out << make_subcommand(command);
    }
  }
  const auto positionals =
      app->get_options([](const CLI::Option* option) { return option->get_positional(); });
  if (!positionals.empty()) {
    out << "\nARGUMENTS\n";
    for (const CLI::Option* option : positionals) out << make_option(option, true);
  }
  const auto options = app->get_options([](const CLI::Option* option) {
    return option->nonpositional() && !option->get_group().empty();
  });
  if (!options.empty()) {
    out << "\nOPTIONS\n";
    for (const CLI::Option* option : options) out << make_option(option, false);
  }
  if (const auto* help = FindHelp(app); help != nullptr && !help->examples.empty()) {
    out << "\nEXAMPLES\n";
    for (const std::string& example : help->examples) out << "  " << example << "\n";
  }
  out << "\n" << kExitStatus;
  return out.str();
}

}  // namespace layerfs

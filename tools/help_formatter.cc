// SPDX-License-Identifier: Apache-2.0
#include "tools/help_formatter.h"

#include <sstream>
#include <string_view>

#include "tools/command.h"
#include "tools/text.h"

namespace layerfs {
namespace {

constexpr char kExitStatus[] =
    "EXIT STATUS\n"
    "  0  success\n"
    "  1  failure, such as a local disk's error or something that is in use\n"
    "  2  wrong usage, such as a directory or a device where a file is asked for\n"
    "  3  not found: an image, a file, a mount\n"
    "  4  unsupported: an image that is not converted, or beyond this machine\n"
    "  5  damaged: bytes that break their format, their digest or a limit\n"
    "  6  network: no connection, a timeout, a server's error\n"
    "  7  permission: credentials or rights\n";

constexpr size_t kWidth = 80;
constexpr size_t kIndent = 2;
// Where the explanations of options and commands begin.
constexpr size_t kColumn = 27;

// "  TERM    explanation", filled; the explanation begins below a term that is too long.
std::string Explained(const std::string& term, std::string_view explanation) {
  std::string text = std::string(kIndent, ' ') + term;
  const size_t columns = kIndent + TextColumns(term);
  if (explanation.empty()) return text + "\n";
  text += columns + kIndent > kColumn ? "\n" + std::string(kColumn, ' ')
                                      : std::string(kColumn - columns, ' ');
  return text + FillText(explanation, kColumn, kWidth) + "\n";
}

// Paragraphs of any width, each of its lines indented.
std::string Paragraphs(std::string_view text) {
  std::string filled;
  while (!text.empty()) {
    const size_t end = text.find("\n\n");
    if (!filled.empty()) filled += "\n";
    filled += std::string(kIndent, ' ') + FillText(text.substr(0, end), kIndent, kWidth) + "\n";
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
  }
  return filled;
}

// A command line that goes on behind backslashes.
std::string CommandLine(std::string_view words) {
  constexpr size_t kGoesOn = 2 * kIndent;
  std::string line = FillText(words, kIndent + kGoesOn, kWidth - std::string_view(" \\").size());
  for (size_t end = line.find('\n'); end != std::string::npos; end = line.find('\n', end + 3)) {
    line.insert(end, " \\");
  }
  return std::string(kIndent, ' ') + line + "\n";
}

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
    out << "\nDESCRIPTION\n" << Paragraphs(help->description);
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
    for (const std::string& example : help->examples) out << CommandLine(example);
  }
  out << "\n" << kExitStatus;
  return out.str();
}

std::string ManPageFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  return Explained(make_option_name(option, is_positional) + make_option_opts(option),
                   make_option_desc(option));
}

std::string ManPageFormatter::make_subcommand(const CLI::App* command) const {
  return Explained(command->get_display_name(true), command->get_description());
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Help texts laid out like a man page: NAME, SYNOPSIS, DESCRIPTION, OPTIONS, EXAMPLES, EXIT STATUS.
// No line is wider than a terminal of 80 columns.
// Immutable; thread-safe.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace layerfs {

class ManPageFormatter final : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;
};

}  // namespace layerfs

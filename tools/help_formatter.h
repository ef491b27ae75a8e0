// SPDX-License-Identifier: Apache-2.0
// Help texts laid out like a man page: NAME, SYNOPSIS, DESCRIPTION, OPTIONS, EXAMPLES, EXIT STATUS.
// Immutable; thread-safe.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace layerfs {

class ManPageFormatter final : public CLI::Formatter {
 public:
  ManPageFormatter() { column_width(34); }
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
};

}  // namespace layerfs

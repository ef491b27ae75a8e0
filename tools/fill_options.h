// SPDX-License-Identifier: Apache-2.0
// The options that say how the rest of a mounted image is fetched.
// One thread at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "fs/fill.h"
#include "index/base/error.h"

namespace layerfs {

struct FillWords {
  std::string mode = "full";
  std::string rate = "0";
  void Declare(CLI::App& app);
  // Nothing: it is off.
  Result<std::optional<Fill::Options>> Get() const;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// TOML documents as JSON values, tables in the order in which they are written.
// The only door to toml++. Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

// kInvalidArgument with the line where it is not TOML. Dates and times become
// strings.
Result<Json> ParseToml(std::string_view text, const std::string& name_for_errors);
Result<Json> ReadTomlFile(const std::string& path);

}  // namespace layerfs

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

// What a table has under the key; empty and false where it is missing or of another type.
std::string TomlText(const Json& table, const char* key);
bool TomlTruth(const Json& table, const char* key);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Numbers and texts as people read and write them.
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "index/base/error.h"

namespace layerfs {

// 1536 → "1.5 KiB", 12 → "12 B".
std::string FormatBytes(uint64_t bytes);
// "1.5GiB" → 1.5 and "GiB". Nothing for what does not begin with a decimal number of 0 or more.
struct NumberWithUnit {
  double value = 0;
  std::string_view unit;
};
std::optional<NumberWithUnit> SplitNumber(std::string_view text);
// "4096", "64K", "1.5GiB", "10G": powers of 1024.
Result<uint64_t> ParseBytes(std::string_view text);
// "60", "60s", "500ms", "2m", "1h".
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);
// Bytes that a terminal may not like (control characters, invalid UTF-8) and the backslash as \xNN,
// so that a name from an image cannot drive the terminal. Reversible, so it serves JSON as well.
std::string EscapeForTerminal(std::string_view bytes);
// But for the backslash: a message may quote what is escaped already, or what a user is to type.
std::string EscapeMessage(std::string_view message);
// How many columns UTF-8 text takes, none of it wide or combining.
size_t TextColumns(std::string_view text);
// The words of `text`, in lines that end before column `width`; all but the first begin behind
// `indent` spaces, the first is meant to. A word that is too long has a line of its own.
std::string FillText(std::string_view text, size_t indent, size_t width);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Numbers as people read and write them.
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "index/base/error.h"

namespace layerfs {

// 1536 → "1.5 KiB", 12 → "12 B".
std::string FormatBytes(uint64_t bytes);
// "4096", "64K", "1.5GiB", "10G": powers of 1024.
Result<uint64_t> ParseBytes(std::string_view text);
// "60", "60s", "500ms", "2m", "1h".
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);
// Bytes that a terminal may not like (control characters, invalid UTF-8) and the backslash as \xNN,
// so that a name from an image cannot drive the terminal. Reversible, so it serves JSON as well.
std::string EscapeForTerminal(std::string_view bytes);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// What the reports on a start-up, as text and as HTML, are written with.
// Thread-safe.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>

namespace layerfs {

inline constexpr double kMebi = 1048576.0;

// As snprintf(3); cut after some thousand bytes.
template <typename... Values>
std::string Format(const char* format, Values... values) {
  char buffer[1024];
  const int size = std::snprintf(buffer, sizeof buffer, format, values...);
  return {buffer, static_cast<size_t>(std::clamp(size, 0, static_cast<int>(sizeof buffer) - 1))};
}

}  // namespace layerfs

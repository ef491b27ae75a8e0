// SPDX-License-Identifier: Apache-2.0
#include "tools/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

namespace layerfs {
namespace {

// The length of the valid, printable UTF-8 sequence at the front; 0 where there is none.
size_t PrintableLength(std::string_view bytes) {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  if (lead < 0x20 || lead == 0x7f || lead == '\\') return 0;
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (length == 0 || lead > 0xf4 || bytes.size() < length) return 0;
  uint32_t point = lead & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(bytes[i]);
    if ((next & 0xc0) != 0x80) return 0;
    point = point << 6 | (next & 0x3f);
  }
  static constexpr std::array<uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xd800 && point <= 0xdfff;
  const bool c1_control = point >= 0x80 && point < 0xa0;
  if (point < kSmallest[length] || point > 0x10ffff || surrogate || c1_control) return 0;
  return length;
}

std::string Escape(std::string_view bytes, bool backslashes) {
  std::string escaped;
  while (!bytes.empty()) {
    const size_t length = !backslashes && bytes[0] == '\\' ? 1 : PrintableLength(bytes);
    if (length > 0) {
      escaped += bytes.substr(0, length);
      bytes.remove_prefix(length);
      continue;
    }
    char text[8];
    std::snprintf(text, sizeof text, "\\x%02x", static_cast<unsigned char>(bytes[0]));
    escaped += text;
    bytes.remove_prefix(1);
  }
  return escaped;
}

}  // namespace

std::optional<NumberWithUnit> SplitNumber(std::string_view text) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
  return NumberWithUnit{value, text.substr(static_cast<size_t>(end - text.data()))};
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, value < 100 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
  return text;
}

Result<uint64_t> ParseBytes(std::string_view text) {
  const auto number = SplitNumber(text);
  static constexpr std::string_view kPrefixes = "KMGTP";
  if (number.has_value()) {
    std::string_view unit = number->unit;
    if (unit.ends_with("iB")) {
      unit.remove_suffix(2);
    } else if (unit.ends_with('B') && unit.size() <= 2) {
      unit.remove_suffix(1);
    }
    double factor = 1;
    bool known = unit.empty();
    if (unit.size() == 1) {
      const size_t power = kPrefixes.find(static_cast<char>(unit[0] & ~0x20));
      known = power != std::string_view::npos;
      if (known) factor = std::pow(1024.0, static_cast<double>(power + 1));
    }
    const double bytes = number->value * factor;
    if (known && bytes < 0x1p63) return static_cast<uint64_t>(bytes);
  }
  return Fail(ErrorCode::kInvalidArgument,
              "size \"" + std::string(text) + "\": write it as 4096, 64K, 1.5G or 10GiB");
}

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const auto number = SplitNumber(text);
  if (number.has_value()) {
    double factor = 0;
    if (number->unit.empty() || number->unit == "s") factor = 1e3;
    if (number->unit == "ms") factor = 1;
    if (number->unit == "m") factor = 60e3;
    if (number->unit == "h") factor = 3600e3;
    const double milliseconds = number->value * factor;
    if (factor > 0 && milliseconds < 1e12) {
      return std::chrono::milliseconds(static_cast<int64_t>(milliseconds));
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              "duration \"" + std::string(text) + "\": write it as 60, 60s, 500ms, 2m or 1h");
}

std::string EscapeForTerminal(std::string_view bytes) { return Escape(bytes, true); }
std::string EscapeMessage(std::string_view message) { return Escape(message, false); }

size_t TextColumns(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string FillText(std::string_view text, size_t indent, size_t width) {
  constexpr std::string_view kSpace = " \n";
  std::string filled;
  size_t column = indent;
  while (true) {
    const size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return filled;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kSpace));
    text.remove_prefix(word.size());
    const size_t columns = TextColumns(word);
    if (filled.empty()) {
      column += columns;
    } else if (column + 1 + columns <= width) {
      filled += ' ';
      column += 1 + columns;
    } else {
      filled += "\n" + std::string(indent, ' ');
      column = indent + columns;
    }
    filled += word;
  }
}

}  // namespace layerfs

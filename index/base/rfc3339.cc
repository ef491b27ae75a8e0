// SPDX-License-Identifier: Apache-2.0
#include "index/base/rfc3339.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>

namespace layerfs {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Whether `text` has the shape: 'd' is a digit, other characters are themselves.
bool HasShape(std::string_view text, std::string_view shape) {
  return std::ranges::equal(
      text, shape, [](char is, char wanted) { return wanted == 'd' ? IsDigit(is) : is == wanted; });
}

int Number(std::string_view digits) {
  int number = 0;
  for (const char digit : digits) number = number * 10 + (digit - '0');
  return number;
}

// "Z", "+02:00": seconds ahead of UTC.
std::optional<int64_t> ParseOffset(std::string_view text) {
  if (text == "Z" || text == "z") return 0;
  if (!HasShape(text, "+dd:dd") && !HasShape(text, "-dd:dd")) return std::nullopt;
  const int hours = Number(text.substr(1, 2));
  const int minutes = Number(text.substr(4, 2));
  if (hours > 23 || minutes > 59) return std::nullopt;
  return (text[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
}

}  // namespace

std::string FormatRfc3339(int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

std::optional<int64_t> ParseRfc3339(std::string_view text) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  if (!HasShape(text.substr(0, kShape.size()), kShape)) return std::nullopt;
  const std::chrono::year_month_day date(
      std::chrono::year(Number(text.substr(0, 4))),
      std::chrono::month(static_cast<unsigned>(Number(text.substr(5, 2)))),
      std::chrono::day(static_cast<unsigned>(Number(text.substr(8, 2)))));
  const int hours = Number(text.substr(11, 2));
  const int minutes = Number(text.substr(14, 2));
  const int seconds = Number(text.substr(17, 2));
  if (!date.ok() || hours > 23 || minutes > 59 || seconds > 60) return std::nullopt;
  std::string_view rest = text.substr(kShape.size());
  if (rest.starts_with('.')) {
    const auto end = std::ranges::find_if_not(rest.substr(1), IsDigit);
    if (end == rest.begin() + 1) return std::nullopt;
    rest = std::string_view(end, rest.end());
  }
  const auto offset = ParseOffset(rest);
  if (!offset.has_value()) return std::nullopt;
  const std::chrono::seconds of_day(hours * 3600 + minutes * 60 + seconds);
  return (std::chrono::sys_days(date).time_since_epoch() + of_day).count() - *offset;
}

}  // namespace layerfs

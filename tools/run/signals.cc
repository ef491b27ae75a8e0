// SPDX-License-Identifier: Apache-2.0
#include "tools/run/signals.h"

#include <cctype>
#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>

#include "index/path.h"

namespace layerfs {
namespace {

std::optional<int> ParseNumber(std::string_view digits) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (value > static_cast<unsigned>(SIGRTMAX)) return std::nullopt;
  return static_cast<int>(value);
}

std::optional<int> FindSignal(std::string name) {
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (name.starts_with("SIG")) name.erase(0, 3);
  if (name == "RTMIN") return SIGRTMIN;
  if (name == "RTMAX") return SIGRTMAX;
  const std::string_view view = name;
  if (view.starts_with("RTMIN+")) {
    if (const auto add = ParseNumber(view.substr(6))) return SIGRTMIN + *add;
  } else if (view.starts_with("RTMAX-")) {
    if (const auto less = ParseNumber(view.substr(6))) return SIGRTMAX - *less;
  }
  for (int number = 1; number < SIGRTMIN; ++number) {
    const char* const known = ::sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return std::nullopt;
}

}  // namespace

Result<int> ParseSignal(std::string_view text) {
  std::optional<int> number = ParseNumber(text);
  if (!number.has_value()) number = FindSignal(std::string(text));
  if (!number.has_value() || *number < 1 || *number > SIGRTMAX) {
    return Fail(ErrorCode::kInvalidArgument,
                "signal " + Quoted(text) + ": is not known; give a name such as SIGTERM");
  }
  return *number;
}

}  // namespace layerfs

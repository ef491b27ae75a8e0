// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/network_profile.h"

#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "tools/text.h"

namespace layerfs {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

template <size_t N>
std::optional<double> ParseScaled(std::string_view text,
                                  const std::array<std::pair<std::string_view, double>, N>& units) {
  constexpr double kMost = 1e15;
  const std::optional<NumberWithUnit> number = SplitNumber(text);
  if (!number.has_value() || number->value >= kMost) return std::nullopt;
  for (const auto& [unit, factor] : units) {
    if (number->unit == unit) return number->value * factor;
  }
  return std::nullopt;
}

// At most an hour: what is longer is a slip of the pen.
std::optional<Duration> ParseTime(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 3> kUnits = {
      {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}};
  const std::optional<double> seconds = ParseScaled(text, kUnits);
  if (!seconds.has_value() || *seconds > 3600) return std::nullopt;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds));
}

// In bytes per second.
std::optional<double> ParseRate(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 3> kUnits = {
      {{"kbit", 1e3 / 8}, {"Mbit", 1e6 / 8}, {"Gbit", 1e9 / 8}}};
  if (text == "0" || text == "unshaped") return 0;
  const std::optional<double> rate = ParseScaled(text, kUnits);
  return rate.has_value() && *rate >= 1 ? rate : std::nullopt;
}

std::optional<uint64_t> ParseCount(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Cuts the part before the first `separator` off `text`.
std::string_view Cut(std::string_view& text, char separator) {
  const size_t at = text.find(separator);
  const std::string_view head = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return head;
}

std::optional<FaultRule::Kind> ParseKind(std::string_view text) {
  if (text == "break") return FaultRule::Kind::kBreak;
  if (text == "truncate") return FaultRule::Kind::kTruncate;
  if (text == "stall") return FaultRule::Kind::kStall;
  return std::nullopt;
}

// KIND:SHARE%[:PAUSE] or KIND@EXCHANGE[+BYTES][:PAUSE]
std::optional<FaultRule> ParseFault(std::string_view text) {
  FaultRule rule;
  const size_t name_end = text.find_first_of(":@");
  const auto kind = ParseKind(text.substr(0, name_end));
  if (!kind.has_value() || name_end == std::string_view::npos) return std::nullopt;
  rule.kind = *kind;
  const bool scripted = text[name_end] == '@';
  text.remove_prefix(name_end + 1);
  std::string_view when = Cut(text, ':');
  if (scripted) {
    const auto exchange = ParseCount(Cut(when, '+'));
    const auto after = when.empty() ? std::optional<uint64_t>(0) : ParseCount(when);
    if (exchange.value_or(0) == 0 || !after.has_value()) return std::nullopt;
    rule.exchange = *exchange;
    rule.after_bytes = *after;
  } else {
    const std::optional<NumberWithUnit> percent = SplitNumber(when);
    if (!percent.has_value() || percent->unit != "%" || percent->value > 100) return std::nullopt;
    rule.share = percent->value / 100;
  }
  if (text.empty()) return rule;
  const std::optional<Duration> pause = ParseTime(text);
  if (!pause.has_value()) return std::nullopt;
  rule.pause = *pause;
  return rule;
}

}  // namespace

const std::vector<NetworkProfile>& NetworkProfiles() {
  static const std::vector<NetworkProfile> profiles = {
      {"lan", microseconds(200), 0, {}},
      {"cloud", milliseconds(2), 125e6, {}},
      {"wan", milliseconds(30), 12.5e6, {}},
      {"bad", milliseconds(150), 1.25e6, {{.kind = FaultRule::Kind::kBreak, .share = 0.01}}},
  };
  return profiles;
}

Result<NetworkProfile> ParseNetworkProfile(std::string_view text) {
  const std::string whole(text);
  const auto malformed = [&whole](std::string_view part) {
    return Fail(ErrorCode::kInvalidArgument,
                "network profile \"" + whole + "\": \"" + std::string(part) +
                    "\" is not understood; say lan, cloud, wan, bad or RTT,RATE (30ms,100Mbit), "
                    "then faults (break:1%, stall:1%:5s, break@7+4096)");
  };
  NetworkProfile profile;
  const std::string_view first = Cut(text, ',');
  for (const NetworkProfile& known : NetworkProfiles()) {
    if (known.name == first) profile = known;
  }
  if (profile.name.empty()) {
    const std::optional<Duration> round_trip = ParseTime(first);
    if (!round_trip.has_value()) return malformed(first);
    const std::string_view second = Cut(text, ',');
    const std::optional<double> rate = ParseRate(second);
    if (!rate.has_value()) return malformed(second);
    profile.round_trip = *round_trip;
    profile.bytes_per_second = *rate;
  }
  while (!text.empty()) {
    const std::string_view part = Cut(text, ',');
    const std::optional<FaultRule> rule = ParseFault(part);
    if (!rule.has_value()) return malformed(part);
    profile.faults.push_back(*rule);
  }
  profile.name = whole;
  return profile;
}

}  // namespace layerfs

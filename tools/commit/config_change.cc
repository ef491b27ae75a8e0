// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/config_change.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "index/path.h"
#include "tools/commit/dockerfile_words.h"
#include "tools/run/run_options.h"
#include "tools/run/signals.h"
#include "tools/text.h"

namespace layerfs {
namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// "WORD REST" → WORD in capitals, REST.
std::pair<std::string, std::string_view> TakeWord(std::string_view text) {
  text = Trim(text);
  const size_t end = std::min(text.find_first_of(" \t"), text.size());
  std::string word(text.substr(0, end));
  for (char& c : word) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return {word, Trim(text.substr(end))};
}

std::unexpected<Error> Bad(std::string why) {
  return Fail(ErrorCode::kInvalidArgument, std::move(why));
}

// What Docker takes for a check's times (moby api/types/container, MinimumDuration).
constexpr int64_t kLeastHealthTime = 1000000;

// "1m30s", as Go's time.ParseDuration reads it; nanoseconds. Nothing where it is none.
std::optional<int64_t> ParseGoDuration(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ns", 1},   {"us", 1e3}, {"\u00b5s", 1e3}, {"\u03bcs", 1e3},
      {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},      {"h", 3600e9}};
  constexpr double kMost = 9.2e18;
  if (text == "0") return 0;
  double sum = 0;
  bool any = false;
  while (!text.empty()) {
    double value = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (error != std::errc() || value < 0) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    const std::string_view unit = text.substr(0, text.find_first_of(".0123456789"));
    const auto known = std::ranges::find(kUnits, unit, &std::pair<std::string_view, double>::first);
    if (known == std::end(kUnits)) return std::nullopt;
    text.remove_prefix(unit.size());
    sum += value * known->second;
    any = true;
  }
  if (!any || sum > kMost) return std::nullopt;
  return static_cast<int64_t>(sum);
}

class ConfigChange {
 public:
  explicit ConfigChange(Json& config) : config_(config) {}

  Status Apply(const std::string& instruction, std::string_view rest) {
    using Change = Status (ConfigChange::*)(std::string_view);
    constexpr std::pair<std::string_view, Change> kChanges[] = {
        {"CMD", &ConfigChange::SetCmd},
        {"ENTRYPOINT", &ConfigChange::SetEntrypoint},
        {"ENV", &ConfigChange::SetEnvironment},
        {"EXPOSE", &ConfigChange::Expose},
        {"HEALTHCHECK", &ConfigChange::SetHealthcheck},
        {"LABEL", &ConfigChange::SetLabels},
        {"ONBUILD", &ConfigChange::AddOnBuild},
        {"STOPSIGNAL", &ConfigChange::SetStopSignal},
        {"USER", &ConfigChange::SetUser},
        {"VOLUME", &ConfigChange::AddVolumes},
        {"WORKDIR", &ConfigChange::SetWorkingDirectory}};
    const auto known =
        std::ranges::find(kChanges, instruction, &std::pair<std::string_view, Change>::first);
    if (known == std::end(kChanges)) {
      return Bad(
          "is none of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, "
          "VOLUME and WORKDIR");
    }
    if (rest.empty()) return Bad("says nothing behind " + instruction);
    return (this->*known->second)(rest);
  }

 private:
  Json& Member(const char* name, Json empty) {
    Json& member = config_[name];
    if (member.type() != empty.type()) member = std::move(empty);
    return member;
  }

  std::string Variable(std::string_view name) {
    for (const Json& word : Member("Env", Json::array())) {
      if (!word.is_string()) continue;
      const std::string text = word.get<std::string>();
      const size_t equals = text.find('=');
      if (text.substr(0, equals) == name && equals != std::string::npos) {
        return text.substr(equals + 1);
      }
    }
    return {};
  }

  Result<std::vector<std::string>> Words(std::string_view rest) {
    return SplitDockerfileWords(rest, [this](std::string_view name) { return Variable(name); });
  }

  Result<std::string> Expanded(std::string_view text) {
    return ExpandDockerfileText(text, [this](std::string_view name) { return Variable(name); });
  }

  Result<std::string> OneWord(std::string_view rest) {
    LAYERFS_TRY(words, Words(rest));
    if (words.size() != 1) return Bad("takes one word");
    return words[0];
  }

  Status SetUser(std::string_view rest) {
    LAYERFS_TRY(word, OneWord(rest));
    config_["User"] = word;
    return {};
  }

  Status SetCmd(std::string_view rest) {
    has_command_ = true;
    return SetCommand("Cmd", rest);
  }

  // The image's command was for the image's entry point.
  Status SetEntrypoint(std::string_view rest) {
    if (!has_command_) config_.erase("Cmd");
    return SetCommand("Entrypoint", rest);
  }

  // The exec form as it is, anything else through the image's shell.
  Status SetCommand(const char* member, std::string_view rest) {
    if (auto words = ParseExecForm(rest)) {
      config_[member] = *words;
      return {};
    }
    Json words = Member("Shell", Json::array());
    config_.erase("Shell");
    if (words.empty()) {
      words = {"/bin/sh", "-c"};
    } else {
      config_["Shell"] = words;
    }
    words.push_back(std::string(rest));
    config_[member] = std::move(words);
    return {};
  }

  // "NAME=VALUE NAME=VALUE…", or the old "NAME VALUE WITH SPACES".
  Result<std::vector<std::pair<std::string, std::string>>> Pairs(std::string_view rest) {
    std::vector<std::pair<std::string, std::string>> pairs;
    const std::string_view first = rest.substr(0, rest.find_first_of(" \t"));
    if (first.find('=') == std::string_view::npos) {
      if (first.size() == rest.size()) return Bad("gives no value");
      LAYERFS_TRY(name, Expanded(first));
      LAYERFS_TRY(value, Expanded(Trim(rest.substr(first.size()))));
      pairs.emplace_back(name, value);
      return pairs;
    }
    LAYERFS_TRY(words, Words(rest));
    for (const std::string& word : words) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos || equals == 0)
        return Bad(Quoted(word) + " is no NAME=VALUE");
      pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
    return pairs;
  }

  Status SetEnvironment(std::string_view rest) {
    LAYERFS_TRY(pairs, Pairs(rest));
    Json& environment = Member("Env", Json::array());
    for (const auto& [name, value] : pairs) {
      const std::string prefix = name + "=";
      const std::string word = prefix + value;
      const auto known = std::ranges::find_if(environment, [&](const Json& item) {
        return item.is_string() && item.get<std::string>().starts_with(prefix);
      });
      if (known != environment.end()) {
        *known = word;
      } else {
        environment.push_back(word);
      }
    }
    return {};
  }

  Status SetLabels(std::string_view rest) {
    LAYERFS_TRY(pairs, Pairs(rest));
    Json& labels = Member("Labels", Json::object());
    for (const auto& [name, value] : pairs) labels[name] = value;
    return {};
  }

  struct PortRange {
    unsigned first = 0;
    unsigned last = 0;
    unsigned size() const { return last - first + 1; }
  };

  static Result<unsigned> Port(std::string_view text, unsigned least) {
    unsigned port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || port < least || port > 65535) {
      return Bad(Quoted(text) + " is no port");
    }
    return port;
  }

  // "80" or "80-89".
  static Result<PortRange> Ports(std::string_view text, unsigned least) {
    const size_t dash = text.find('-');
    LAYERFS_TRY(first, Port(text.substr(0, dash), least));
    if (dash == std::string_view::npos) return PortRange{first, first};
    LAYERFS_TRY(last, Port(text.substr(dash + 1), least));
    if (last < first) return Bad(Quoted(text) + " is no range of ports");
    return PortRange{first, last};
  }

  // "[[ADDRESS:]HOST-PORTS:]", which an image does not keep; for `ports` of the container's.
  static Status CheckHostSide(std::string_view text, PortRange ports) {
    if (text.empty()) return {};
    text.remove_suffix(1);
    const size_t colon = text.rfind(':');
    const std::string_view host = colon == std::string_view::npos ? text : text.substr(colon + 1);
    if (!host.empty()) {
      LAYERFS_TRY(host_ports, Ports(host, 0));  // 0: any
      if (ports.size() > 1 && host_ports.size() != ports.size()) {
        return Bad(Quoted(host) + " are not as many ports as the container's");
      }
    }
    std::string address(text.substr(0, colon == std::string_view::npos ? 0 : colon));
    if (address.starts_with('[') && address.ends_with(']')) {
      address = address.substr(1, address.size() - 2);
    }
    in6_addr parsed;
    if (address.empty() || ::inet_pton(AF_INET, address.c_str(), &parsed) == 1 ||
        ::inet_pton(AF_INET6, address.c_str(), &parsed) == 1) {
      return {};
    }
    return Bad(Quoted(address) + " is no IP address");
  }

  // Each as `docker run -p` has them too: "127.0.0.1:8080:80/tcp" (go-connections,
  // nat.ParsePortSpec).
  Status Expose(std::string_view rest) {
    LAYERFS_TRY(words, Words(rest));
    Json& exposed = Member("ExposedPorts", Json::object());
    for (const std::string_view word : words) {
      const size_t own = word.rfind(':') + 1;
      const size_t slash = std::min(word.find('/', own), word.size());
      std::string protocol(word.substr(std::min(slash + 1, word.size())));
      for (char& c : protocol) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (protocol.empty()) protocol = "tcp";
      if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
        return Bad(Quoted(word) + ": the protocol is none of tcp, udp and sctp");
      }
      LAYERFS_TRY(ports, Ports(word.substr(own, slash - own), 1));
      LAYERFS_CHECK_OK(CheckHostSide(word.substr(0, own), ports));
      for (unsigned port = ports.first; port <= ports.last; ++port) {
        exposed[std::to_string(port) + "/" + protocol] = Json::object();
      }
    }
    return {};
  }

  Status AddVolumes(std::string_view rest) {
    std::vector<std::string> words;
    if (auto exec = ParseExecForm(rest)) {
      words = std::move(*exec);
    } else {
      LAYERFS_TRY(split, Words(rest));
      words = std::move(split);
    }
    Json& volumes = Member("Volumes", Json::object());
    for (const std::string& word : words) {
      LAYERFS_TRY(path, CleanAbsolutePath(word));
      volumes[path] = Json::object();
    }
    return {};
  }

  Status SetWorkingDirectory(std::string_view rest) {
    LAYERFS_TRY(word, OneWord(rest));
    if (!word.starts_with('/')) {
      const Json& now = config_["WorkingDir"];
      word = (now.is_string() ? now.get<std::string>() : "") + "/" + word;
    }
    LAYERFS_TRY(path, CleanAbsolutePath(word));
    config_["WorkingDir"] = path;
    return {};
  }

  Status SetStopSignal(std::string_view rest) {
    LAYERFS_TRY(word, OneWord(rest));
    LAYERFS_CHECK_OK(ParseSignal(word));
    config_["StopSignal"] = word;
    return {};
  }

  // Zero is the default of whoever runs the check: such a member is not written.
  static void SetUnlessZero(Json& health, const char* member, int64_t value) {
    health.erase(member);
    if (value != 0) health[member] = value;
  }

  // "--interval=30s" and its like, in nanoseconds.
  Status SetHealthOption(std::string_view option, Json& health) {
    const size_t equals = option.find('=');
    const std::string_view name = option.substr(0, equals);
    if (equals == std::string_view::npos) return Bad(Quoted(option) + " has no value");
    const std::string value(option.substr(equals + 1));
    if (name == "--retries") {
      unsigned retries = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), retries);
      if (error != std::errc() || end != value.data() + value.size()) {
        return Bad(Quoted(value) + " is no number of retries");
      }
      SetUnlessZero(health, "Retries", retries);
      return {};
    }
    constexpr std::pair<std::string_view, const char*> kTimes[] = {
        {"--interval", "Interval"},
        {"--timeout", "Timeout"},
        {"--start-period", "StartPeriod"},
        {"--start-interval", "StartInterval"}};
    for (const auto& [word, member] : kTimes) {
      if (name != word) continue;
      const auto nanoseconds = ParseGoDuration(value);
      if (!nanoseconds.has_value())
        return Bad(Quoted(value) + " is no time such as 1m30s or 500ms");
      if (*nanoseconds != 0 && *nanoseconds < kLeastHealthTime) {
        return Bad(Quoted(option) + " cannot be less than 1ms");
      }
      SetUnlessZero(health, member, *nanoseconds);
      return {};
    }
    return Bad(Quoted(name) + " is not known");
  }

  Status SetHealthcheck(std::string_view rest) {
    Json health = Json::object();
    while (rest.starts_with("--")) {
      const size_t end = std::min(rest.find_first_of(" \t"), rest.size());
      LAYERFS_CHECK_OK(SetHealthOption(rest.substr(0, end), health));
      rest = Trim(rest.substr(end));
    }
    const auto [kind, command] = TakeWord(rest);
    if (kind == "NONE" && command.empty()) {
      health["Test"] = {"NONE"};
    } else if (kind == "CMD" && !command.empty()) {
      Json test = Json::array({"CMD"});
      if (const auto words = ParseExecForm(command)) {
        for (const std::string& word : *words) test.push_back(word);
      } else {
        test = {"CMD-SHELL", std::string(command)};
      }
      health["Test"] = std::move(test);
    } else {
      return Bad("is neither NONE nor CMD with a command");
    }
    config_["Healthcheck"] = std::move(health);
    return {};
  }

  Status AddOnBuild(std::string_view rest) {
    const std::string trigger = TakeWord(rest).first;
    if (trigger == "ONBUILD" || trigger == "FROM" || trigger == "MAINTAINER") {
      return Bad(trigger + " cannot be a trigger");
    }
    Member("OnBuild", Json::array()).push_back(std::string(rest));
    return {};
  }

  Json& config_;
  bool has_command_ = false;  // by an instruction
};

}  // namespace

Status ApplyConfigChanges(std::span<const std::string> instructions, Json& config) {
  if (!config.is_object()) config = Json::object();
  ConfigChange change(config);
  for (const std::string& text : instructions) {
    std::vector<std::string> lines = SplitDockerfileLines(text);
    if (lines.empty()) lines.emplace_back();
    for (const std::string& instruction : lines) {
      const auto [word, rest] = TakeWord(instruction);
      LAYERFS_CHECK_OK_IN(change.Apply(word, rest), "--change " + Quoted(Trim(instruction)));
    }
  }
  return {};
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/run/run_options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "index/path.h"

namespace layerfs {
namespace {

constexpr std::array<std::string_view, 6> kPropagations = {"private", "rprivate", "shared",
                                                           "rshared", "slave",    "rslave"};

// What setrlimit(2) has, in docker's words.
constexpr std::array<std::string_view, 15> kLimitNames = {
    "core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue", "nice",
    "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack"};

std::optional<uint64_t> ParseLimit(std::string_view text) {
  if (text == "-1") return UINT64_MAX;  // RLIM_INFINITY
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

Status ApplyVolumeOption(const std::string& option, VolumeOption& volume) {
  if (option == "ro") {
    volume.read_only = true;
  } else if (option == "rw") {
    volume.read_only = false;
  } else if (option == "nocopy") {
    volume.no_copy = true;
  } else if (std::ranges::find(kPropagations, option) != kPropagations.end()) {
    volume.propagation = option;
  } else if (option != "z" && option != "Z") {  // Relabelling means nothing without SELinux.
    return Fail(ErrorCode::kInvalidArgument,
                "-v: option " + Quoted(option) +
                    " is not known; there are ro, rw, nocopy and the kernel's propagation words");
  }
  return {};
}

// `path`: absolute and clean.
bool IsRoot(const std::string& path) { return path.size() == 1; }

}  // namespace

Result<std::string> CleanAbsolutePath(std::string_view path) {
  if (!path.starts_with('/') || path.find('\0') != std::string_view::npos) {
    return Fail(ErrorCode::kInvalidArgument, Quoted(path) + ": is not an absolute path");
  }
  std::vector<std::string> clean;
  for (std::string& part : Split(path.substr(1), '/')) {
    if (part == "..") {
      if (!clean.empty()) clean.pop_back();
    } else if (!part.empty() && part != ".") {
      clean.push_back(std::move(part));
    }
  }
  if (clean.empty()) return "/";
  std::string result;
  for (const std::string& part : clean) result.append("/").append(part);
  return result;
}

Result<VolumeOption> ParseVolumeOption(std::string_view text) {
  const std::vector<std::string> parts = Split(text, ':');
  const std::string object = "-v " + std::string(text);
  if (parts.size() > 3) {
    return Fail(ErrorCode::kInvalidArgument,
                object + ": is none of DST, SRC:DST and SRC:DST:OPTIONS");
  }
  VolumeOption volume;
  if (parts.size() > 1) volume.source = parts[0];
  LAYERFS_TRY_IN(destination, CleanAbsolutePath(parts.size() == 1 ? parts[0] : parts[1]), object);
  if (IsRoot(destination)) {
    return Fail(ErrorCode::kInvalidArgument, object + ": nothing can be mounted on the root");
  }
  volume.destination = destination;
  if (parts.size() == 3) {
    for (const std::string& option : Split(parts[2], ',')) {
      LAYERFS_CHECK_OK(ApplyVolumeOption(option, volume));
    }
  }
  if (parts.size() > 1 && !volume.is_bind() && !IsGoodName(volume.source)) {
    return Fail(ErrorCode::kInvalidArgument,
                object + ": " + Quoted(volume.source) +
                    " is neither the name of a volume nor a path that begins with / or ./");
  }
  return volume;
}

Result<TmpfsOption> ParseTmpfsOption(std::string_view text) {
  const size_t colon = text.find(':');
  TmpfsOption tmpfs;
  LAYERFS_TRY_IN(destination, CleanAbsolutePath(text.substr(0, colon)),
                 "--tmpfs " + std::string(text));
  if (IsRoot(destination)) {
    return Fail(ErrorCode::kInvalidArgument, "--tmpfs /: nothing can be mounted on the root");
  }
  tmpfs.destination = destination;
  tmpfs.options = {"noexec", "nosuid", "nodev"};
  if (colon == std::string_view::npos) return tmpfs;
  for (const std::string& option : Split(text.substr(colon + 1), ',')) {
    if (option.empty()) continue;
    // A word takes the place of its opposite.
    const std::string opposite = option.starts_with("no") ? option.substr(2) : "no" + option;
    std::erase(tmpfs.options, opposite);
    std::erase(tmpfs.options, option);
    tmpfs.options.push_back(option);
  }
  return tmpfs;
}

Status AddUlimit(std::string_view text, std::vector<ResourceLimit>& limits) {
  const std::string object = "--ulimit " + std::string(text);
  const size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  if (std::ranges::find(kLimitNames, name) == kLimitNames.end()) {
    std::string known;
    for (const std::string_view limit : kLimitNames)
      known.append(known.empty() ? "" : ", ").append(limit);
    return Fail(ErrorCode::kInvalidArgument,
                object + ": " + Quoted(name) + " is no limit; there are " + known);
  }
  const std::vector<std::string> values = equals == std::string_view::npos
                                              ? std::vector<std::string>{}
                                              : Split(text.substr(equals + 1), ':');
  const auto soft = values.empty() ? std::nullopt : ParseLimit(values.front());
  const auto hard = values.empty() ? std::nullopt : ParseLimit(values.back());
  if (values.size() > 2 || !soft.has_value() || !hard.has_value() || *soft > *hard) {
    return Fail(ErrorCode::kInvalidArgument,
                object + ": write NAME=SOFT[:HARD] with SOFT not above HARD, and -1 for no limit");
  }
  ResourceLimit limit{"RLIMIT_", *soft, *hard};
  for (const char c : name) limit.type.push_back(static_cast<char>(std::toupper(c)));
  std::erase_if(limits, [&](const ResourceLimit& known) { return known.type == limit.type; });
  limits.push_back(std::move(limit));
  return {};
}

Status ApplySecurityOption(std::string_view text, RunOptions& options) {
  const size_t separator = text.find_first_of("=:");
  const std::string_view name = text.substr(0, separator);
  const std::string value(separator == std::string_view::npos ? "" : text.substr(separator + 1));
  if (name == "seccomp" && !value.empty()) {
    options.seccomp = value;
  } else if (name == "no-new-privileges" &&
             (value.empty() || value == "true" || value == "false")) {
    options.no_new_privileges = value != "false";
  } else {
    return Fail(ErrorCode::kInvalidArgument,
                "--security-opt " + Quoted(text) +
                    ": is none of seccomp=FILE, seccomp=unconfined and no-new-privileges");
  }
  return {};
}

Result<std::pair<std::string, std::string>> ParseLabel(std::string_view text) {
  const size_t equals = text.find('=');
  if (text.empty() || equals == 0) {
    return Fail(ErrorCode::kInvalidArgument, "label " + Quoted(text) + ": has no name");
  }
  return std::pair(std::string(text.substr(0, equals)),
                   equals == std::string_view::npos ? "" : std::string(text.substr(equals + 1)));
}

Result<std::optional<std::string>> ParseEnvironmentWord(std::string_view text,
                                                        const GetEnvironment& get) {
  const size_t equals = text.find('=');
  if (text.empty() || equals == 0) {
    return Fail(ErrorCode::kInvalidArgument, "environment " + Quoted(text) + ": has no name");
  }
  if (text.find('\0') != std::string_view::npos) {
    return Fail(ErrorCode::kInvalidArgument, "environment " + Quoted(text) + ": has a NUL byte");
  }
  if (equals != std::string_view::npos) return std::optional(std::string(text));
  const std::string name(text);
  const std::optional<std::string> value = get(name);
  if (!value.has_value()) return std::optional<std::string>();
  return std::optional(name + "=" + *value);
}

Result<std::vector<std::string>> ParseEnvironmentFile(std::string_view contents,
                                                      const GetEnvironment& get) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (contents.starts_with(kByteOrderMark)) contents.remove_prefix(kByteOrderMark.size());
  std::vector<std::string> environment;
  size_t number = 0;
  for (std::string& line : Split(contents, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty() || line.front() == '#') continue;
    const std::string object = "line " + std::to_string(number);
    if (line.substr(0, line.find('=')).find_first_of(" \t") != std::string::npos) {
      return Fail(ErrorCode::kInvalidArgument, object + ": a name contains white space");
    }
    LAYERFS_TRY_IN(word, ParseEnvironmentWord(line, get), object);
    if (word.has_value()) environment.push_back(*word);
  }
  return environment;
}

bool IsGoodName(std::string_view name) {
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > kMaxContainerName || !letter_or_digit(name.front())) {
    return false;
  }
  return std::ranges::all_of(
      name, [&](char c) { return letter_or_digit(c) || c == '_' || c == '.' || c == '-'; });
}

}  // namespace layerfs

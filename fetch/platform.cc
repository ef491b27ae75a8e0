// SPDX-License-Identifier: Apache-2.0
// Platforms in the words of Go (GOOS, GOARCH), as images name them.
#include <sys/utsname.h>

#include <algorithm>

#include "fetch/manifest.h"

namespace layerfs {
namespace {

struct Spelling {
  std::string_view machine;  // as uname and users say it
  std::string_view architecture;
  std::string_view variant;
};
constexpr Spelling kSpellings[] = {
    {"x86_64", "amd64", ""}, {"x86-64", "amd64", ""},    {"aarch64", "arm64", ""},
    {"armv8l", "arm", "v7"}, {"armv7l", "arm", "v7"},    {"armv6l", "arm", "v6"},
    {"armhf", "arm", "v7"},  {"armel", "arm", "v6"},     {"i386", "386", ""},
    {"i686", "386", ""},     {"ppc64el", "ppc64le", ""}, {"loongarch64", "loong64", ""},
};

Platform Normalized(std::string os, std::string_view architecture, std::string_view variant) {
  for (const Spelling& spelling : kSpellings) {
    if (spelling.machine != architecture) continue;
    return {std::move(os), std::string(spelling.architecture),
            std::string(variant.empty() ? spelling.variant : variant)};
  }
  return {std::move(os), std::string(architecture), std::string(variant)};
}

bool IsWord(std::string_view word) {
  return !word.empty() && std::ranges::all_of(word, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  });
}

// arm64 has had one variant so far; images write it or leave it out. An arm without one is v7.
std::string_view Variant(const Platform& platform) {
  if (platform.architecture == "arm64" && platform.variant == "v8") return "";
  if (platform.architecture == "arm" && platform.variant.empty()) return "v7";
  return platform.variant;
}

}  // namespace

Result<Platform> Platform::Parse(std::string_view text) {
  const size_t first = text.find('/');
  const size_t second = first == std::string_view::npos ? first : text.find('/', first + 1);
  const std::string_view os = text.substr(0, first);
  std::string_view architecture;
  std::string_view variant;
  if (first != std::string_view::npos) architecture = text.substr(first + 1, second - first - 1);
  if (second != std::string_view::npos) variant = text.substr(second + 1);
  const bool variant_ok = second == std::string_view::npos || IsWord(variant);
  if (!IsWord(os) || !IsWord(architecture) || !variant_ok) {
    return Fail(ErrorCode::kInvalidArgument, "platform \"" + std::string(text) +
                                                 "\": write OS/ARCHITECTURE[/VARIANT], for "
                                                 "example linux/amd64 or linux/arm64/v8");
  }
  return Normalized(std::string(os), architecture, variant);
}

Platform Platform::Host() {
  utsname names{};
  const bool known = uname(&names) == 0;
  return Normalized("linux", known ? names.machine : "x86_64", "");
}

std::string Platform::ToString() const {
  return os + "/" + architecture + (variant.empty() ? "" : "/" + variant);
}

bool Platform::Satisfies(const Platform& wanted) const {
  if (os != wanted.os || architecture != wanted.architecture) return false;
  return wanted.variant.empty() || Variant(*this) == Variant(wanted);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/path.h"

#include <algorithm>

namespace layerfs {
namespace {

Status CheckSize(std::string_view name) {
  if (name.size() <= kMaxNameBytes) return {};
  return Fail(ErrorCode::kCorrupt, "a component has " + std::to_string(name.size()) +
                                       " bytes, more than " + std::to_string(kMaxNameBytes));
}

// Calls `take` with each component but empty ones and ".".
template <typename Take>
Status ForEachComponent(std::string_view path, Take take) {
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (component.empty() || component == ".") continue;
    if (component.contains('\0')) {
      return Fail(ErrorCode::kCorrupt, "NUL in the component " + Quoted(component));
    }
    LAYERFS_CHECK_OK(take(component));
  }
  return {};
}

}  // namespace

Result<std::vector<std::string_view>> SplitEntryPath(std::string_view path) {
  std::vector<std::string_view> components;
  LAYERFS_CHECK_OK(ForEachComponent(path, [&](std::string_view component) -> Status {
    if (component == "..") return Fail(ErrorCode::kCorrupt, "the path contains \"..\"");
    // What follows shows that the one before is a directory.
    if (!components.empty()) LAYERFS_CHECK_OK(CheckSize(components.back()));
    components.push_back(component);
    return {};
  }));
  if (components.empty()) return components;
  std::string_view name = components.back();
  if (name.starts_with(kWhiteoutPrefix)) name.remove_prefix(kWhiteoutPrefix.size());
  LAYERFS_CHECK_OK(CheckSize(name));
  return components;
}

Result<std::vector<std::string_view>> SplitLinkTarget(std::string_view target) {
  std::vector<std::string_view> components;
  LAYERFS_CHECK_OK(ForEachComponent(target, [&](std::string_view component) -> Status {
    LAYERFS_CHECK_OK(CheckSize(component));
    if (component != "..") {
      components.push_back(component);
    } else if (!components.empty()) {
      components.pop_back();
    }
    return {};
  }));
  return components;
}

std::string JoinPath(const std::vector<std::string_view>& components) {
  std::string path;
  for (const std::string_view component : components) {
    if (!path.empty()) path += '/';
    path += component;
  }
  return path;
}

std::string Quoted(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "'";
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\' && c != '\'') {
      quoted += c;
    } else {
      quoted += "\\x";
      quoted += kHex[byte >> 4];
      quoted += kHex[byte & 15];
    }
  }
  return quoted + "'";
}

}  // namespace layerfs

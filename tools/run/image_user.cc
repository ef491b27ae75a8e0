// SPDX-License-Identifier: Apache-2.0
#include "tools/run/image_user.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "index/path.h"

namespace layerfs {
namespace {

// The kernel's ids go further, but runtimes and Docker stop here (libcontainer/user: maxID).
constexpr uint32_t kMaxId = 0x7fffffff;

// The kernel's limit (NGROUPS_MAX): a file that lists more cannot be meant.
constexpr size_t kMaxGroups = 65536;

std::optional<uint32_t> ParseId(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > kMaxId) {
    return std::nullopt;
  }
  return static_cast<uint32_t>(value);
}

bool IsNumber(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// Calls `use` with the fields of each line until it returns true.
template <typename Use>
void ForEachLine(std::string_view file, Use use) {
  while (!file.empty()) {
    const size_t end = file.find('\n');
    const std::string_view line = file.substr(0, end);
    file.remove_prefix(end == std::string_view::npos ? file.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    if (use(Split(line, ':'))) return;
  }
}

struct PasswdEntry {
  std::string_view name;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string_view home;
};

// name:password:uid:gid:comment:home:shell
std::optional<PasswdEntry> FindUser(std::string_view passwd, std::string_view wanted) {
  std::optional<PasswdEntry> found;
  const std::optional<uint32_t> wanted_id = ParseId(wanted);
  ForEachLine(passwd, [&](const std::vector<std::string_view>& fields) {
    if (fields.size() < 4) return false;
    const std::optional<uint32_t> uid = ParseId(fields[2]);
    const std::optional<uint32_t> gid = ParseId(fields[3]);
    if (!uid.has_value() || !gid.has_value()) return false;
    if (fields[0] != wanted && uid != wanted_id) return false;
    found = PasswdEntry{fields[0], *uid, *gid, fields.size() > 5 ? fields[5] : std::string_view{}};
    return true;
  });
  return found;
}

// name:password:gid:member,member
std::optional<uint32_t> FindGroup(std::string_view group, std::string_view wanted) {
  std::optional<uint32_t> found;
  const std::optional<uint32_t> wanted_id = ParseId(wanted);
  ForEachLine(group, [&](const std::vector<std::string_view>& fields) {
    if (fields.size() < 3) return false;
    const std::optional<uint32_t> gid = ParseId(fields[2]);
    if (!gid.has_value() || (fields[0] != wanted && gid != wanted_id)) return false;
    found = gid;
    return true;
  });
  return found;
}

Result<std::vector<uint32_t>> GroupsOf(std::string_view group, std::string_view user) {
  std::vector<uint32_t> groups;
  ForEachLine(group, [&](const std::vector<std::string_view>& fields) {
    if (fields.size() < 4) return false;
    const std::optional<uint32_t> gid = ParseId(fields[2]);
    const auto members = Split(fields[3], ',');
    if (gid.has_value() && std::ranges::find(members, user) != members.end()) {
      groups.push_back(*gid);
    }
    return groups.size() > kMaxGroups;
  });
  if (groups.size() > kMaxGroups) {
    return Fail(ErrorCode::kTooLarge,
                "/etc/group: user " + Quoted(user) + " is in more groups than Linux has room for");
  }
  std::ranges::sort(groups);
  groups.erase(std::ranges::unique(groups).begin(), groups.end());
  return groups;
}

Result<uint32_t> IdOrError(std::string_view word, const char* what, const char* file) {
  if (const auto id = ParseId(word)) return *id;
  if (IsNumber(word)) {
    return Fail(ErrorCode::kInvalidArgument, std::string(what) + " " + Quoted(word) +
                                                 ": ids go from 0 to " + std::to_string(kMaxId));
  }
  return Fail(ErrorCode::kNotFound, std::string(what) + " " + Quoted(word) + ": the image's " +
                                        file + " has no such entry");
}

}  // namespace

Result<ImageUser> ResolveUser(std::string_view text, std::string_view passwd,
                              std::string_view group) {
  const size_t colon = text.find(':');
  std::string_view user_word = text.substr(0, colon);
  const std::string_view group_word =
      colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  if (user_word.empty()) user_word = "0";

  ImageUser user;
  const std::optional<PasswdEntry> entry = FindUser(passwd, user_word);
  if (entry.has_value()) {
    user.uid = entry->uid;
    user.gid = entry->gid;
    if (!entry->home.empty()) user.home = entry->home;
  } else {
    LAYERFS_TRY(uid, IdOrError(user_word, "user", "/etc/passwd"));
    user.uid = uid;
  }
  if (!group_word.empty()) {
    if (const auto gid = FindGroup(group, group_word)) {
      user.gid = *gid;
    } else {
      LAYERFS_TRY(number, IdOrError(group_word, "group", "/etc/group"));
      user.gid = number;
    }
  } else if (entry.has_value()) {
    LAYERFS_TRY(groups, GroupsOf(group, entry->name));
    user.groups = std::move(groups);
  }
  return user;
}

}  // namespace layerfs

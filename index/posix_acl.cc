// SPDX-License-Identifier: Apache-2.0
#include "index/posix_acl.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <tuple>
#include <vector>

#include "index/base/bytes.h"
#include "index/pax_records.h"
#include "index/tar_header.h"

namespace layerfs {
namespace {

// linux/posix_acl_xattr.h and linux/posix_acl.h
constexpr uint32_t kAclVersion = 2;
constexpr uint32_t kAclNoId = UINT32_MAX;
constexpr size_t kAclEntryBytes = 8;
// Owner, group and others: no more than the mode says.
constexpr size_t kBaseEntries = 3;
enum AclTag : uint16_t {
  kUserObject = 0x01,
  kUser = 0x02,
  kGroupObject = 0x04,
  kGroup = 0x08,
  kMask = 0x10,
  kOther = 0x20,
};

struct AclEntry {
  uint16_t tag = 0;
  uint16_t permissions = 0;
  uint32_t id = kAclNoId;
  auto operator<=>(const AclEntry& other) const {
    return std::tie(tag, id) <=> std::tie(other.tag, other.id);
  }
  bool operator==(const AclEntry& other) const { return tag == other.tag && id == other.id; }
};

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.push_back(Trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<uint16_t> ParsePermissions(std::string_view text) {
  uint16_t permissions = 0;
  for (const char c : text) {
    if (c == 'r') {
      permissions |= 4;
    } else if (c == 'w') {
      permissions |= 2;
    } else if (c == 'x') {
      permissions |= 1;
    } else if (c != '-') {
      return std::nullopt;
    }
  }
  return text.empty() ? std::nullopt : std::optional(permissions);
}

std::optional<uint32_t> ParseId(std::string_view name, std::string_view number) {
  if (!number.empty()) name = number;
  if (name == "root") return 0;  // The one name that is the same everywhere.
  const std::optional<uint64_t> id = ParsePaxNumber(name);
  if (!id.has_value() || *id > kMaxTarId) return std::nullopt;
  return static_cast<uint32_t>(*id);
}

// "TAG:QUALIFIER:PERMISSIONS[:ID]"; mask and other also as "TAG:PERMISSIONS".
std::optional<AclEntry> ParseAclEntry(std::string_view text) {
  std::vector<std::string_view> fields = Split(text, ':');
  const std::string_view tag = fields[0];
  const bool is_user = tag == "user" || tag == "u";
  const bool is_group = tag == "group" || tag == "g";
  if (!is_user && !is_group && fields.size() == 2) fields.insert(fields.begin() + 1, "");
  if (fields.size() < 3 || fields.size() > 4) return std::nullopt;
  AclEntry entry;
  const std::optional<uint16_t> permissions = ParsePermissions(fields[2]);
  if (!permissions.has_value()) return std::nullopt;
  entry.permissions = *permissions;
  const std::string_view qualifier = fields[1];
  if (is_user || is_group) {
    entry.tag = is_user ? kUserObject : kGroupObject;
    if (qualifier.empty()) return entry;
    entry.tag = is_user ? kUser : kGroup;
    const std::optional<uint32_t> id = ParseId(qualifier, fields.size() == 4 ? fields[3] : "");
    if (!id.has_value()) return std::nullopt;
    entry.id = *id;
    return entry;
  }
  if (!qualifier.empty()) return std::nullopt;
  if (tag == "mask" || tag == "m") {
    entry.tag = kMask;
  } else if (tag == "other" || tag == "o") {
    entry.tag = kOther;
  } else {
    return std::nullopt;
  }
  return entry;
}

// What the kernel demands (posix_acl_valid): the three base entries, and a mask where anybody is
// named; sorted, nobody twice.
bool IsValidAcl(const std::vector<AclEntry>& sorted) {
  if (std::ranges::adjacent_find(sorted) != sorted.end()) return false;
  const auto has = [&](uint16_t tag) {
    return std::ranges::any_of(sorted, [&](const AclEntry& entry) { return entry.tag == tag; });
  };
  const bool names_somebody = has(kUser) || has(kGroup);
  return has(kUserObject) && has(kGroupObject) && has(kOther) && (!names_somebody || has(kMask));
}

// The same for what was not sorted here, and may be anything.
Status CheckAcl(const std::vector<AclEntry>& entries) {
  const bool sorted = std::ranges::is_sorted(entries, {}, &AclEntry::tag);
  const bool sound = std::ranges::all_of(entries, [](const AclEntry& entry) {
    const bool known = std::has_single_bit(entry.tag) && entry.tag <= kOther;
    const bool names = entry.tag == kUser || entry.tag == kGroup;
    return known && entry.permissions <= 7 && (!names || entry.id != kAclNoId);
  });
  // Twice the same name is no fault to the kernel.
  std::vector<AclEntry> each = entries;
  const auto twice = std::ranges::unique(each, [](const AclEntry& a, const AclEntry& b) {
    return (a.tag == kUser || a.tag == kGroup) && a == b;
  });
  each.erase(twice.begin(), twice.end());
  if (sorted && sound && IsValidAcl(each)) return {};
  return Fail(ErrorCode::kCorrupt, "an ACL that Linux does not take");
}

std::string Encode(const std::vector<AclEntry>& entries) {
  ByteWriter writer;
  writer.Write(kAclVersion);
  for (const AclEntry& entry : entries) {
    writer.Write(entry.tag);
    writer.Write(entry.permissions);
    writer.Write(entry.id);
  }
  return std::string(AsText(writer.bytes()));
}

}  // namespace

std::optional<std::string> EncodePosixAcl(std::string_view text, bool is_access) {
  std::string separated(text);
  std::ranges::replace(separated, '\n', ',');
  std::vector<AclEntry> entries;
  for (const std::string_view part : Split(separated, ',')) {
    const std::string_view words = Trimmed(part.substr(0, part.find('#')));
    if (words.empty()) continue;
    const std::optional<AclEntry> entry = ParseAclEntry(words);
    if (!entry.has_value()) return std::nullopt;
    entries.push_back(*entry);
  }
  std::ranges::sort(entries);
  if (!IsValidAcl(entries) || (is_access && entries.size() == kBaseEntries)) return std::nullopt;
  return Encode(entries);
}

uint32_t PermissionsUnderAcl(uint32_t permissions, std::string_view acl) {
  ByteReader reader(AsBytes(acl));
  reader.Skip(sizeof kAclVersion);
  // Sorted by tag, so that the mask comes behind the group that it overrules.
  while (reader.remaining() > 0 && reader.ok()) {
    const auto tag = reader.Read<uint16_t>();
    const auto bits = reader.Read<uint16_t>();
    reader.Skip(sizeof AclEntry::id);
    if (tag == kUserObject) permissions = (permissions & ~0700U) | bits << 6;
    if (tag == kGroupObject || tag == kMask) permissions = (permissions & ~0070U) | bits << 3;
    if (tag == kOther) permissions = (permissions & ~0007U) | bits;
  }
  return permissions;
}

Result<std::optional<std::string>> KeptPosixAcl(std::string_view acl,
                                                std::optional<uint32_t> permissions) {
  if (acl.empty()) return std::nullopt;
  ByteReader reader(AsBytes(acl));
  const auto version = reader.Read<uint32_t>();
  if (!reader.ok() || reader.remaining() % kAclEntryBytes != 0) {
    return Fail(ErrorCode::kCorrupt, "an ACL of " + std::to_string(acl.size()) + " bytes");
  }
  if (version != kAclVersion || reader.remaining() == 0) return std::nullopt;
  std::vector<AclEntry> entries;
  while (reader.remaining() > 0) {
    AclEntry entry;
    entry.tag = reader.Read<uint16_t>();
    entry.permissions = reader.Read<uint16_t>();
    entry.id = reader.Read<uint32_t>();
    // Linux has nobody's number in the entries that name nobody, whatever the bytes say.
    if (entry.tag != kUser && entry.tag != kGroup) entry.id = kAclNoId;
    entries.push_back(entry);
  }
  LAYERFS_CHECK_OK(CheckAcl(entries));
  if (!permissions.has_value()) return Encode(entries);
  if (entries.size() == kBaseEntries) return std::nullopt;
  for (AclEntry& entry : entries) {
    if (entry.tag == kUserObject) entry.permissions = *permissions >> 6 & 7;
    if (entry.tag == kMask) entry.permissions = *permissions >> 3 & 7;
    if (entry.tag == kOther) entry.permissions = *permissions & 7;
  }
  return Encode(entries);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/namespace_ids.h"

#include <algorithm>
#include <charconv>

#include "index/base/bytes.h"
#include "index/base/file.h"

namespace layerfs {
namespace {

// The kernel takes 340 lines of three numbers.
constexpr uint64_t kMaxMapBytes = uint64_t{1} << 16;
// 2^32 - 1 is no id but chown(2)'s "leave it".
constexpr uint64_t kAllIds = 4294967295;

// linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id.
constexpr uint32_t kAclVersion = 2;
constexpr size_t kAclEntryBytes = 8;
constexpr uint16_t kAclUser = 2;
constexpr uint16_t kAclGroup = 8;

std::vector<uint64_t> Numbers(std::string_view text) {
  std::vector<uint64_t> numbers;
  for (;;) {
    const size_t begin = text.find_first_of("0123456789");
    if (begin == std::string_view::npos) return numbers;
    text.remove_prefix(begin);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return {};
    numbers.push_back(value);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
  }
}

std::string TextOf(const char* path) {
  const auto bytes = ReadFile(path, kMaxMapBytes);
  return bytes.has_value() ? std::string(AsText(*bytes)) : "";
}

}  // namespace

NamespaceIds::NamespaceIds(std::string_view uid_map, std::string_view gid_map)
    : users_(Parse(uid_map)), groups_(Parse(gid_map)) {}

NamespaceIds NamespaceIds::OfThisProcess() {
  const std::string users = TextOf("/proc/self/uid_map");
  const std::string groups = TextOf("/proc/self/gid_map");
  if (users.empty() || groups.empty()) return {};
  return {users, groups};
}

NamespaceIds::Map NamespaceIds::Parse(std::string_view text) {
  const std::vector<uint64_t> numbers = Numbers(text);
  std::vector<Range> ranges;
  for (size_t i = 0; i + 2 < numbers.size(); i += 3) {
    ranges.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
  }
  if (ranges.size() == 1 && ranges[0].inside == 0 && ranges[0].outside == 0 &&
      ranges[0].count == kAllIds) {
    return std::nullopt;
  }
  return ranges;
}

bool NamespaceIds::Has(const Map& map, uint32_t id) {
  return !map.has_value() ||
         std::ranges::any_of(*map, [id](const Range& range) { return range.Holds(id); });
}

std::optional<uint32_t> NamespaceIds::UserOutside(uint32_t id) const {
  if (!users_.has_value()) return id;
  for (const Range& range : *users_) {
    if (range.Holds(id)) return static_cast<uint32_t>(range.outside + (id - range.inside));
  }
  return std::nullopt;
}

std::string NamespaceIds::AclHere(std::string_view value) const {
  ByteReader reader(AsBytes(value));
  if (reader.Read<uint32_t>() != kAclVersion || reader.remaining() % kAclEntryBytes != 0) {
    return std::string(value);
  }
  std::string kept(value.substr(0, reader.position()));
  while (reader.remaining() > 0) {
    const std::string_view entry = value.substr(reader.position(), kAclEntryBytes);
    const auto tag = reader.Read<uint16_t>();
    reader.Skip(sizeof(uint16_t));
    const auto id = reader.Read<uint32_t>();
    if ((tag == kAclUser && !HasUser(id)) || (tag == kAclGroup && !HasGroup(id))) continue;
    kept += entry;
  }
  return kept;
}

}  // namespace layerfs

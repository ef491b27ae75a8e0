// SPDX-License-Identifier: Apache-2.0
// NamespaceIds: which users and groups there are in a user namespace (user_namespaces(7)), and what
// is left there of a POSIX ACL: the kernel refuses one that names somebody else (EINVAL), and with
// it every access to the file. Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace layerfs {

class NamespaceIds {
 public:
  // The machine's own namespace, which has all.
  NamespaceIds() = default;
  // The maps as /proc/PID/uid_map and gid_map have them: lines of INSIDE OUTSIDE COUNT.
  NamespaceIds(std::string_view uid_map, std::string_view gid_map);
  // As /proc tells it; where it tells nothing, the machine's.
  static NamespaceIds OfThisProcess();

  bool IsTheMachines() const { return !users_.has_value() && !groups_.has_value(); }
  bool HasUser(uint32_t id) const { return Has(users_, id); }
  bool HasGroup(uint32_t id) const { return Has(groups_, id); }
  // Who it is in the namespace around this one; nobody where there is no such user.
  std::optional<uint32_t> UserOutside(uint32_t id) const;
  // `value` of system.posix_acl_access or _default, without the entries of users and groups that
  // are not here. The mask stays, so the mode shows as it was. What is not an ACL comes back as it
  // is.
  std::string AclHere(std::string_view value) const;
  // Whether an extended attribute of that name is to go through AclHere.
  bool Concern(std::string_view xattr) const {
    return !IsTheMachines() && xattr.starts_with("system.posix_acl_");
  }

 private:
  struct Range {
    uint64_t inside = 0;
    uint64_t outside = 0;
    uint64_t count = 0;
    bool Holds(uint32_t id) const { return id >= inside && id - inside < count; }
  };
  using Map = std::optional<std::vector<Range>>;  // nothing: all ids, as they are
  static Map Parse(std::string_view text);
  static bool Has(const Map& map, uint32_t id);

  Map users_;
  Map groups_;
};

}  // namespace layerfs

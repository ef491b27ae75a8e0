// SPDX-License-Identifier: Apache-2.0
// POSIX ACLs as tars carry them, in words (star, GNU tar) or as the attribute's bytes, turned into
// what Linux keeps.
// Thread-safe: functions of values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "index/base/error.h"

namespace layerfs {

inline constexpr std::string_view kAclAccessXattr = "system.posix_acl_access";
inline constexpr std::string_view kAclDefaultXattr = "system.posix_acl_default";

// An ACL in words — "user::rwx,user:1000:r-x,mask::rwx,…", separated by commas or newlines, star's
// numeric fourth field, comments after '#' — as the value of system.posix_acl_access or _default
// (linux/posix_acl_xattr.h). Nothing where it is empty, malformed, or names a user that only the
// passwd file of the archiver's machine knows; nothing too for an access ACL that says no more than
// the mode does, because then the kernel keeps no attribute either.
std::optional<std::string> EncodePosixAcl(std::string_view text, bool is_access);

// The permissions of a file that gets `acl` (a value that EncodePosixAcl made) as its access ACL,
// as the kernel sets them then: owner, others, and the mask for the group. libarchive writes
// another mode beside the ACL.
uint32_t PermissionsUnderAcl(uint32_t permissions, std::string_view acl);

// What is left of `acl`, the bytes of one of the two attributes, once whoever unpacks a layer has
// set it and then the mode of the file (linux fs/posix_acl.c: posix_acl_from_xattr,
// posix_acl_valid, __posix_acl_chmod). Nothing where the kernel keeps none: it says no more than
// the mode, is empty, or of another version. kCorrupt where the kernel refuses it. For an access
// ACL `permissions` are the file's; without them it is a directory's default ACL.
Result<std::optional<std::string>> KeptPosixAcl(std::string_view acl,
                                                std::optional<uint32_t> permissions);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The forms in which tars carry extended attributes, turned into what Linux has: URL-escaped names
// and base64 values (libarchive), and ACLs in words (star, GNU tar).
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace layerfs {

inline constexpr std::string_view kAclAccessXattr = "system.posix_acl_access";
inline constexpr std::string_view kAclDefaultXattr = "system.posix_acl_default";

// XATTR_NAME_MAX and XATTR_SIZE_MAX of linux/limits.h.
inline constexpr size_t kMaxXattrName = 255;
inline constexpr size_t kMaxXattrValue = 65536;

// Whether it is an attribute of Linux: a known namespace, a name behind it, no NUL. Others (macOS
// writes com.apple.*) are dropped as they are by everyone who unpacks a layer.
bool IsLinuxXattrName(std::string_view name);

// "%41" → "A"; nothing where an escape is malformed.
std::optional<std::string> DecodeUrl(std::string_view text);
// RFC 4648 base64, with or without padding; nothing where it is malformed.
std::optional<std::string> DecodeBase64(std::string_view text);

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

}  // namespace layerfs

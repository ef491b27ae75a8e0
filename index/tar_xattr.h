// SPDX-License-Identifier: Apache-2.0
// The forms in which tars carry extended attributes, turned into what Linux has: URL-escaped names
// and base64 values (libarchive).
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace layerfs {

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

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// A hidden member: bytes that lie in a gzip stream and that every gzip reader passes over, as the
// extra field (RFC 1952, section 2.3.1.1) of a member that holds nothing. What skippable frames are
// to zstd. FORMAT.md, "In a gzip layer blob".
// Thread-safe: functions of values.
#pragma once

#include "index/base/bytes.h"

namespace layerfs {

// Bytes of the member before and behind its payload.
inline constexpr size_t kHiddenMemberHeadSize = 16;
inline constexpr size_t kHiddenMemberTailSize = 10;
// The extra field's size has 16 bits; 4 bytes of it name the subfield.
inline constexpr size_t kMaxHiddenBytes = 65535 - 4;

// `payload` has at most kMaxHiddenBytes.
Bytes EncodeHiddenMember(ByteSpan payload);
// Whether `bytes`, of kHiddenMemberTailSize, are a hidden member's last.
bool IsHiddenMemberTail(ByteSpan bytes);

}  // namespace layerfs

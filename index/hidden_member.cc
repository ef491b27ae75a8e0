// SPDX-License-Identifier: Apache-2.0
#include "index/hidden_member.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace layerfs {
namespace {

// Magic, deflate, an extra field; no time; no hint of the level; an unknown system.
constexpr std::array<uint8_t, 10> kHead = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff};
// One final, empty block with fixed codes; then the CRC-32 and the size of nothing.
constexpr std::array<uint8_t, kHiddenMemberTailSize> kTail = {0x03, 0x00};
// The subfield's name.
constexpr std::array<uint8_t, 2> kSubfield = {'L', 'F'};

}  // namespace

Bytes EncodeHiddenMember(ByteSpan payload) {
  assert(payload.size() <= kMaxHiddenBytes);
  ByteWriter writer;
  writer.WriteSpan(kHead);
  writer.Write(static_cast<uint16_t>(payload.size() + 4));
  writer.WriteSpan(kSubfield);
  writer.Write(static_cast<uint16_t>(payload.size()));
  writer.WriteSpan(payload);
  writer.WriteSpan(kTail);
  return std::move(writer).Take();
}

bool IsHiddenMemberTail(ByteSpan bytes) { return std::ranges::equal(bytes, kTail); }

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Puts an index's checksums right after a test has broken a byte, so that the structure is judged:
// whoever forges an index computes checksums too.
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstring>

#include "index/base/bytes.h"
#include "index/base/xxh3.h"
#include "index/index_layout.h"

namespace layerfs {

inline void ResealIndex(Bytes& bytes) {
  layout::Header header;
  if (bytes.size() < sizeof header) return;
  std::memcpy(&header, bytes.data(), sizeof header);
  const uint64_t table_size = uint64_t{header.section_count} * sizeof(layout::SectionRecord);
  if (!RangeFits(sizeof header, table_size, bytes.size())) return;
  for (uint32_t i = 0; i < header.section_count; ++i) {
    uint8_t* const at = bytes.data() + sizeof header + i * sizeof(layout::SectionRecord);
    layout::SectionRecord record;
    std::memcpy(&record, at, sizeof record);
    if (!RangeFits(record.offset, record.size, bytes.size())) continue;
    record.checksum = Xxh3(ByteSpan(bytes).subspan(record.offset, record.size));
    std::memcpy(at, &record, sizeof record);
  }
  const ByteSpan all(bytes);
  const ByteSpan head = all.first(offsetof(layout::Header, checksum));
  const ByteSpan table = all.subspan(sizeof header, table_size);
  Bytes covered(head.begin(), head.end());
  covered.insert(covered.end(), table.begin(), table.end());
  header.checksum = Xxh3(covered);
  std::memcpy(bytes.data(), &header, sizeof header);
}

}  // namespace layerfs

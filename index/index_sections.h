// SPDX-License-Identifier: Apache-2.0
// The header and the section table of an index: what every reader checks first.
// Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"
#include "index/index_layout.h"

namespace layerfs {

struct ParsedIndex {
  layout::Sections sections;  // views of the bytes
  IndexKind kind = IndexKind::kTree;
  ByteSpan table;  // the section table's bytes
};

// Checks header and section table, and that every section lies where it must. kCorrupt names the
// section; kUnsupported names a version or feature. Looks at no byte of a section.
Result<ParsedIndex> ParseSections(ByteSpan bytes);

// Compares each known section with its checksum, and the bytes between sections with zero.
Status VerifySections(const ParsedIndex& index, ByteSpan bytes);

// "index: WHERE: WHAT" and "index: SECTION record N: WHAT", as kCorrupt.
Error BrokenIndex(std::string_view where, std::string_view what);
Error BrokenRecord(std::string_view section, uint64_t position, std::string_view what);

}  // namespace layerfs

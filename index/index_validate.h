// SPDX-License-Identifier: Apache-2.0
// The one pass that an index's bytes go through before anything is read from them.
// Thread-safe.
#pragma once

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"
#include "index/index_sections.h"

namespace layerfs {

struct ValidatedIndex {
  layout::Sections sections;  // views of the bytes
  IndexKind kind = IndexKind::kTree;
  uint64_t total_file_bytes = 0;
};

// Checks every invariant of index.h, linear in the size, without allocation per file. kCorrupt
// names the section and record; kUnsupported names a version or feature.
Result<ValidatedIndex> ValidateIndex(ByteSpan bytes);

}  // namespace layerfs

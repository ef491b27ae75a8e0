// SPDX-License-Identifier: Apache-2.0
// How an entry's header and the extension headers in front of it make one TarEntry: which of them
// wins, and what each type means. Sparse maps are the parser's.
// Thread-safe: no state.
#pragma once

#include <cstdint>
#include <string>

#include "index/base/error.h"
#include "index/pax_records.h"
#include "index/tar_header.h"
#include "index/tar_parser.h"

namespace layerfs {

// What the extension headers say about the entry to come.
struct TarExtensions {
  PaxOverrides pax;
  std::string gnu_path;         // an 'L' entry's payload
  std::string gnu_link_target;  // a 'K' entry's
};

// The entry without header_offset and extents; its size is the payload's. Takes the names and
// xattrs out of `extensions`. kUnsupported for a type that nobody who unpacks layers knows,
// kTooLarge for a path over `path_limit` bytes.
Result<TarEntry> MakeTarEntry(const TarHeader& header, uint64_t data_offset, uint64_t path_limit,
                              TarExtensions& extensions);

}  // namespace layerfs

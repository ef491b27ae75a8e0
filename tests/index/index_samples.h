// SPDX-License-Identifier: Apache-2.0
// For tests of the index format: an index of each kind that has one of everything, and ways to
// change single fields of it with the checksums put right again, so that the structure is judged
// and not the checksum.
// Thread-safe: no state.
#pragma once

#include <cstring>
#include <vector>

#include "index/base/bytes.h"
#include "index/chunk_table.h"
#include "index/index.h"
#include "index/index_layout.h"

namespace layerfs {

// A tree of two layers: /, a/ (with b: sparse, hole: sparse without data, empty), bin/ (with sh:
// setuid, two xattrs; sh2: its hard link), dev/ (block, char, fifo, socket), file, link, and a name
// that is not UTF-8.
Bytes SampleTree();
// A layer index: implicit and opaque directories, a whiteout, an unresolved link, a file.
Bytes SampleLayer();
// A segment with three chunks, one of them stored as it is, and a content of two of them.
std::vector<Chunk> SampleChunks();
std::vector<Content> SampleContents();
SegmentRef SampleSegmentRef();

// Computes all checksums anew, as far as the section table can be followed.
void Reseal(Bytes& index);

// Where a section begins in the index.
uint64_t SectionOffset(const Bytes& index, layout::SectionId id);
uint64_t SectionSize(const Bytes& index, layout::SectionId id);

// The record at `position` of a section, changed by `change`; checksums are right again.
template <typename Record, typename Change>
Bytes WithRecord(Bytes index, layout::SectionId id, uint64_t position, Change change) {
  uint8_t* const at = index.data() + SectionOffset(index, id) + position * sizeof(Record);
  Record record;
  std::memcpy(&record, at, sizeof record);
  change(record);
  std::memcpy(at, &record, sizeof record);
  Reseal(index);
  return index;
}

// Reads everything that can be read, as a daemon would; aborts on what Open must have ruled out.
void WalkIndex(const Index& index);

}  // namespace layerfs

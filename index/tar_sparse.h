// SPDX-License-Identifier: Apache-2.0
// Maps of sparse tar entries: how GNU tar writes them in the header (old GNU) and in front of the
// payload (PAX 1.0), and what a map must keep to before anything may rely on it.
// Facts: GNU tar manual, "Storing Sparse Files".
// SparseMapReader: one thread at a time; the functions are thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

// (offset in the file, size) of each run of data, in file order.
using SparseMap = std::vector<std::pair<uint64_t, uint64_t>>;

// Appends the slots (24 bytes each) of an old GNU header or extension block, up to the first empty
// one. More than `limit` runs are kTooLarge.
Status AppendOldGnuSlots(ByteSpan slots, uint64_t limit, SparseMap& map);

// The map at the head of a PAX 1.0 payload: decimal numbers, a line each — how many runs, then
// offset and size of each — padded to a block.
class SparseMapReader {
 public:
  explicit SparseMapReader(uint64_t limit) : limit_(limit) {}

  // The payload's next block. True when the map is complete; the rest of the block is padding.
  Result<bool> Feed(ByteSpan block);
  SparseMap Take() && { return std::move(map_); }

 private:
  Status TakeNumber();

  uint64_t limit_;
  uint64_t number_ = 0;
  int digits_ = 0;
  std::optional<uint64_t> expected_runs_;
  std::optional<uint64_t> offset_;
  SparseMap map_;
};

// The runs with their places in the tar, where the data of all of them lie one after the other from
// `data_offset` on. kCorrupt unless they are in order, apart, inside the file, and as long together
// as the payload. Empty runs are left out.
struct SparseShape {
  uint64_t real_size = 0;
  uint64_t data_offset = 0;
  uint64_t data_size = 0;
};
Result<std::vector<DataExtent>> LaySparseMap(const SparseMap& map, SparseShape shape);

}  // namespace layerfs

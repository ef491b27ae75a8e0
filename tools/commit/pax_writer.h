// SPDX-License-Identifier: Apache-2.0
// PaxWriter: layer entries → a tar in the POSIX pax form, as all readers of layers take it
// (image-spec layer.md): xattrs as SCHILY.xattr, times to the nanosecond, names of any length,
// sparse files in GNU's form 1.0. Deterministic: the same entries give the same bytes.
// One thread at a time.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "tools/commit/layer_entry.h"

namespace layerfs {

// (offset, size) of each run of data in a file, in order and apart.
using DataRuns = std::vector<std::pair<uint64_t, uint64_t>>;

class PaxWriter {
 public:
  using Sink = std::function<Status(ByteSpan)>;
  explicit PaxWriter(Sink sink) : sink_(std::move(sink)) {}

  // Everything but a regular file's bytes. With `runs`, a file is sparse. After a file, exactly its
  // size (or that of its runs together) has to be written, then the next entry or Finish.
  Status Begin(const LayerEntry& entry, const DataRuns* runs = nullptr);
  Status WriteData(ByteSpan data);
  Status Finish();

 private:
  Status Pad();

  Sink sink_;
  uint64_t expected_ = 0;  // bytes of the open file that are still to come
  uint64_t written_ = 0;   // since the last block boundary that matters: the open file's
};

}  // namespace layerfs

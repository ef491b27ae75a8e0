// SPDX-License-Identifier: Apache-2.0
// HiddenData: what a converted layer's blob carries besides the tar, hidden from everybody who
// decompresses it: in skippable frames of zstd, or in members of gzip that hold nothing
// (index/FORMAT.md, "In a layer blob"). Compressed with zstd in either case.
// One thread at a time.
#pragma once

#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/zstd_codec.h"
#include "index/chunk_ref.h"
#include "tools/convert/chunk_policy.h"
#include "tools/convert/spool_file.h"

namespace layerfs {

class HiddenData {
 public:
  // The spool file outlives it.
  HiddenData(LayerCompression compression, SpoolFile& spool);

  // Appends `data`, compressed, and returns where it lies.
  Result<ChunkRef> Append(ByteSpan data);
  // The blob's last bytes: see layer_footer.h.
  Status AppendFooter(const ChunkRef& index);

 private:
  Status AppendSkippable(ByteSpan data);
  Status AppendMembers(ByteSpan data);
  Result<std::vector<Bytes>> CompressInPieces(ByteSpan data);

  const LayerCompression compression_;
  SpoolFile& spool_;
  ZstdCompressor zstd_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ConvertLayer: a layer blob in any encoding → the same tar as consecutive frames (zstd, or gzip
// members), then the chunk table, the layer index and the footer in skippable frames
// (index/FORMAT.md, "In a layer blob"). Thread-safe: calls share the pool only.
#pragma once

#include <functional>
#include <string>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/chunk_ref.h"
#include "index/layer_decoder.h"
#include "tools/convert/chunk_policy.h"
#include "tools/convert/compression_pool.h"
#include "tools/convert/spool_file.h"

namespace layerfs {

// Hands the blob's bytes to a consumer, in order; an error of the consumer ends it and comes back.
using BlobConsumer = std::function<Status(ByteSpan)>;
using BlobReader = std::function<Status(const BlobConsumer&)>;

// For a process that converts, before it begins: the C library maps blocks from 128 KiB on by
// themselves, so that they go back to the system when they go: a large layer's tree, its index and
// what is compressed are never in memory together. (It says so of itself, until the first of them
// goes; then it keeps ever larger ones.)
void GiveLargeBlocksBack();

// How many bytes of chunks a layer may have on their way: enough for `threads` that compress,
// little enough to stay in the processor's cache where that is possible, and bounded over all the
// layers that are converted side by side.
uint64_t InFlightBytes(int threads, int layers_at_once);

struct LayerConversion {
  ChunkPolicy policy;
  uint64_t in_flight_bytes = 0;  // see InFlightBytes
  std::string spool_directory;
  CompressionPool* pool = nullptr;  // of the policy's compression and level
  LayerDecoderLimits limits;
  bool* refused_window = nullptr;  // becomes true where ConvertLayer fails for the limit of windows
};

struct ConvertedLayer {
  SpoolFile spool;  // the blob
  Digest digest;    // of the blob
  Digest diff_id;
  uint64_t tar_size = 0;
  ChunkRef index;            // where the layer index lies in the blob
  bool links_below = false;  // it has hard links whose targets are in lower layers, or nowhere
};

// Errors name the offset in the blob or in the tar.
Result<ConvertedLayer> ConvertLayer(const BlobReader& read_blob, const LayerConversion& conversion);

}  // namespace layerfs

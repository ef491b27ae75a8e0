// SPDX-License-Identifier: Apache-2.0
// The index in a converted layer's blob, where the descriptor's annotations say that it is: fetched
// from a store or taken from a local file, verified and opened.
// Thread-safe: functions of values.
#pragma once

#include <vector>

#include "fetch/blob_source.h"
#include "fetch/manifest.h"
#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/chunk_ref.h"
#include "index/index.h"

namespace layerfs {

// As it lies in the blob: compressed, not verified.
struct StoredIndex {
  ChunkRef where;
  Bytes stored;
};

// Those of `layers`, in their order, fetched side by side. Each layer has its own result.
std::vector<Result<StoredIndex>> FetchIndexes(BlobSource& source,
                                              const std::vector<Descriptor>& layers);
// From a file that holds the layer's blob.
Result<StoredIndex> ReadStoredIndex(int blob_file, const Descriptor& layer);
// Verified by the digest that the annotations give it.
Result<Index> OpenIndex(const StoredIndex& index);

// kCorrupt where it is the index of something else than the layer with this tar.
Status CheckLayerIndex(const Index& index, const Digest& diff_id);
// Whether the blob's chunks, as the chunk table has them, are what the index names and make its
// tar. kCorrupt or kDigestMismatch where they are not.
Status CheckChunks(int blob_file, const Descriptor& layer, const Index& index);
// As ConvertedLayer::links_below.
bool HasLinksBelow(const Index& index);

}  // namespace layerfs

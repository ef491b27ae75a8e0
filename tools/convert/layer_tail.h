// SPDX-License-Identifier: Apache-2.0
// LayerTail: what follows the frames of a converted layer's tar: the segments of its chunk table
// and its index, all of it hidden from who decompresses the blob, and the footer.
// Thread-safe: a function.
#pragma once

#include "index/base/error.h"
#include "index/chunk_ref.h"
#include "index/layer_index_builder.h"
#include "tools/convert/chunk_pipeline.h"
#include "tools/convert/chunk_policy.h"
#include "tools/convert/spool_file.h"

namespace layerfs {

// Appends it all to the spool file and returns where the index lies. The builder has seen all
// entries.
Result<ChunkRef> AppendLayerTail(const ChunkPipeline::Outcome& tar, LayerIndexBuilder& builder,
                                 LayerCompression compression, SpoolFile& spool);

}  // namespace layerfs

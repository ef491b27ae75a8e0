// SPDX-License-Identifier: Apache-2.0
// From a chunk's stored bytes to its verified content.
// Thread-safe; each thread keeps decompression contexts.
#pragma once

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/chunk_ref.h"

namespace layerfs {

// Whether the sizes that an index claims for a chunk are such as we are ready to handle: kCorrupt
// where they are not.
Status CheckChunkRef(const ChunkRef& chunk, uint64_t blob_size);

// kCorrupt for stored bytes that do not decompress to chunk.size bytes, kDigestMismatch where they
// do and are not the chunk's, kUnsupported for a codec that we do not read.
Result<SharedBytes> DecodeChunk(const ChunkRef& chunk, ByteSpan stored);

}  // namespace layerfs

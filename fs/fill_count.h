// SPDX-License-Identifier: Apache-2.0
// How much of an image the cache holds, counted chunk by chunk: for a fill that has ended without
// all of it, since some of what it brought may have gone again.
// One thread at a time.
#pragma once

#include <cstdint>
#include <functional>

#include "fetch/object_cache.h"
#include "fs/image_chunks.h"

namespace layerfs {

// Stored bytes of the chunks that are there. Files whose part of the chunk table does not come
// count for nothing. Ends early, with less, once `stop` says so.
uint64_t CountCachedBytes(ImageChunks& chunks, ObjectCache& cache,
                          const std::function<bool()>& stop);

// A segment of the chunk table for who does not want to fetch it; kNotFound where it is not there.
Result<SharedBytes> ReadCachedTable(ObjectCache& cache, const ChunkRef& chunk);

}  // namespace layerfs

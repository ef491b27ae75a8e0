// SPDX-License-Identifier: Apache-2.0
// A tree's whole chunk table, for the commands that look at all of it.
// One thread at a time.
#pragma once

#include <functional>
#include <memory>

#include "fetch/scheduler.h"
#include "fs/image.h"
#include "index/base/error.h"
#include "index/chunk_table.h"

namespace layerfs {

// Segment `number` of the tree's table, fetched (through the cache) where it has to be.
Result<ChunkTableSegment> LoadSegment(Image& image, Scheduler& scheduler, ObjectCache& cache,
                                      uint32_t number);

// Fetches the segments in order (through the cache) and calls `on_segment` with each.
Status ForEachSegment(
    Image& image, Scheduler& scheduler, ObjectCache& cache,
    const std::function<Status(const SegmentRef&, const ChunkTableSegment&)>& on_segment);

}  // namespace layerfs

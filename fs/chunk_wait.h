// SPDX-License-Identifier: Apache-2.0
// Several chunks at once, for callers that may wait (loading an image, tools).
// Thread-safe.
#pragma once

#include <vector>

#include "fetch/scheduler.h"
#include "index/base/error.h"

namespace layerfs {

// Fetches all of them concurrently and waits; in the requests' order, or the first error.
Result<std::vector<SharedBytes>> FetchAllAndWait(Scheduler& scheduler,
                                                 std::vector<ChunkRequest> requests);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The time that goes into what is made.
// Thread-safe: functions only.
#pragma once

#include <cstdint>

#include "index/base/error.h"

namespace layerfs {

// $SOURCE_DATE_EPOCH where it is set, for reproducible builds, and else now; since 1970.
Result<int64_t> BuildTimeSeconds();

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The time that goes into what is made.
// Thread-safe: functions only.
#pragma once

#include <cstdint>

#include "index/base/error.h"

namespace layerfs {

// The last that RFC 3339 can say: of the year 9999.
inline constexpr int64_t kLastSecond = 253402300799;

// $SOURCE_DATE_EPOCH where it is set, for reproducible builds, and else now; since 1970.
Result<int64_t> BuildTimeSeconds();

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Moments as configs and annotations of images have them (RFC 3339), in seconds since 1970.
// Thread-safe: functions only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace layerfs {

// "2023-11-14T22:13:20Z".
std::string FormatRfc3339(int64_t seconds);
// Any offset; what is below a second is dropped. Nothing where it is no such moment.
std::optional<int64_t> ParseRfc3339(std::string_view text);

}  // namespace layerfs

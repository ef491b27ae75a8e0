// SPDX-License-Identifier: Apache-2.0
// Signals by name, as STOPSIGNAL and docker kill take them.
// Thread-safe: a pure function.
#pragma once

#include <string_view>

#include "index/base/error.h"

namespace layerfs {

// "SIGTERM", "term", "15", "SIGRTMIN+3", "RTMAX-1"; anything else is kInvalidArgument.
Result<int> ParseSignal(std::string_view text);

}  // namespace layerfs

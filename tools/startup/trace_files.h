// SPDX-License-Identifier: Apache-2.0
// Reading traces that are named on a command line.
// Thread-safe: functions only.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/trace.h"

namespace layerfs {

// Errors name the file.
Result<std::vector<Trace>> ReadTraces(std::span<const std::string> files);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// RunOptions as JSON, so that a container can be run again as it was.
// Functions of values; thread-safe.
#pragma once

#include "index/base/error.h"
#include "index/base/json.h"
#include "tools/run/run_options.h"

namespace layerfs {

Json EncodeRunOptions(const RunOptions& options);
// kCorrupt naming the member.
Result<RunOptions> DecodeRunOptions(const Json& json);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// PlanPackRuns: which pages of an image's files a startup pack has, in which order. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "index/index.h"
#include "index/pack.h"
#include "index/trace.h"

namespace layerfs {

struct PackFile {
  InodeNumber inode = kNoInode;
  uint64_t size = 0;  // in bytes
};

// The regular file at an absolute path, if there is one.
using FindPackFile = std::function<std::optional<PackFile>(const std::string& path)>;

struct PackRunPlan {
  std::vector<PackRun> packed;
  std::vector<PackRun> bare;  // beyond what a pack may have: only named
  uint32_t page_count = 0;    // of `packed`
  uint32_t gap_pages = 0;     // of these, not in the trace
  uint64_t missing_paths = 0;
};

// Packed are `max_pages` at most, in the trace's order, no page twice; and behind them short gaps
// between them.
PackRunPlan PlanPackRuns(const Trace& trace, uint64_t max_pages, const FindPackFile& find);

}  // namespace layerfs

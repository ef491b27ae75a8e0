// SPDX-License-Identifier: Apache-2.0
#include "fs/read_statistics.h"

#include <algorithm>
#include <iterator>

namespace layerfs {
namespace {

// Files that are remembered; those waited for least are forgotten, half of them at a time.
constexpr size_t kFilesKept = 1024;
constexpr size_t kStallsShown = 20;

}  // namespace

void ReadStatistics::DropLeast(std::map<uint32_t, FileStall>& files) {
  std::vector<std::chrono::microseconds> totals;
  for (const auto& [inode, stall] : files) totals.push_back(stall.total);
  const auto middle = totals.begin() + static_cast<ptrdiff_t>(totals.size() / 2);
  std::nth_element(totals.begin(), middle, totals.end());
  const std::chrono::microseconds least = *middle;
  std::erase_if(files, [&](const auto& entry) { return entry.second.total <= least; });
}

void ReadStatistics::Note(const ReadReport& report) {
  state_.With([&](State& state) {
    Snapshot& totals = state.totals;
    ++totals.reads;
    if (report.error != nullptr) {
      ++totals.errors;
    } else {
      totals.bytes += report.size;
    }
    if (!report.waited) return;
    ++totals.waited;
    totals.wait_total += report.took;
    totals.wait_longest = std::max(totals.wait_longest, report.took);
    const auto bound =
        std::lower_bound(std::begin(kWaitBounds), std::end(kWaitBounds), report.took);
    ++totals.waits_by_bound[bound - std::begin(kWaitBounds)];
    if (state.files.size() >= kFilesKept) DropLeast(state.files);
    FileStall& file = state.files[ToUint(report.inode)];
    file.inode = report.inode;
    ++file.waits;
    file.total += report.took;
    file.longest = std::max(file.longest, report.took);
  });
}

ReadStatistics::Snapshot ReadStatistics::Take() const {
  return state_.With([](const State& state) {
    Snapshot snapshot = state.totals;
    for (const auto& [inode, stall] : state.files) snapshot.stalls.push_back(stall);
    std::sort(snapshot.stalls.begin(), snapshot.stalls.end(),
              [](const FileStall& a, const FileStall& b) { return a.total > b.total; });
    if (snapshot.stalls.size() > kStallsShown) snapshot.stalls.resize(kStallsShown);
    return snapshot;
  });
}

}  // namespace layerfs

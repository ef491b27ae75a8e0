// SPDX-License-Identifier: Apache-2.0
// ReadStatistics: what the readers of a mount got and how long they waited for it. Fed by a
// FileReader's observer.
// Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fs/file_reader.h"
#include "index/base/synchronized.h"

namespace layerfs {

// A file whose readers had to wait.
struct FileStall {
  InodeNumber inode{0};
  uint64_t waits = 0;
  std::chrono::microseconds total{0};
  std::chrono::microseconds longest{0};
};

class ReadStatistics {
 public:
  // Upper bounds of the buckets in which waits are counted; the last bucket has none.
  static constexpr std::chrono::milliseconds kWaitBounds[] = {
      std::chrono::milliseconds(1),    std::chrono::milliseconds(5),
      std::chrono::milliseconds(20),   std::chrono::milliseconds(100),
      std::chrono::milliseconds(500),  std::chrono::milliseconds(2000),
      std::chrono::milliseconds(10000)};
  static constexpr size_t kBuckets = std::size(kWaitBounds) + 1;

  struct Snapshot {
    uint64_t reads = 0;
    uint64_t bytes = 0;
    uint64_t waited = 0;  // reads that something had to be fetched for
    uint64_t errors = 0;
    std::chrono::microseconds wait_total{0};
    std::chrono::microseconds wait_longest{0};
    uint64_t waits_by_bound[kBuckets] = {};
    std::vector<FileStall> stalls;  // the longest waited for first
  };

  void Note(const ReadReport& report);
  Snapshot Take() const;

 private:
  struct State {
    Snapshot totals;
    std::map<uint32_t, FileStall> files;
  };
  static void DropLeast(std::map<uint32_t, FileStall>& files);
  Synchronized<State> state_;
};

}  // namespace layerfs

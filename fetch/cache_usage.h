// SPDX-License-Identifier: Apache-2.0
// CacheUsage: the disk space that all processes together use in a cache directory. Approximate: a
// process keeps up to kBatchBytes to itself, and what a killed one kept is lost until the next
// scan. Thread-safe and process-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "fetch/cache_directory.h"

namespace layerfs {

class CacheUsage {
 public:
  static constexpr int64_t kBatchBytes = int64_t{1} << 20;

  explicit CacheUsage(const CacheDirectory& directory) : directory_(directory) {}
  ~CacheUsage();
  CacheUsage(const CacheUsage&) = delete;
  CacheUsage& operator=(const CacheUsage&) = delete;

  // Returns the total as last known.
  int64_t Add(int64_t bytes);
  // What a scan of the directory found.
  void Set(int64_t bytes);
  // Reads what all processes have put down; -1 where nobody ever did.
  int64_t Load();

 private:
  int64_t Flush();

  const CacheDirectory& directory_;
  // Serializes the threads; the range lock serializes the processes. Held across two small I/Os on
  // a page of the page cache.
  std::mutex mutex_;
  std::atomic<int64_t> pending_{0};
  std::atomic<int64_t> total_{0};
};

}  // namespace layerfs

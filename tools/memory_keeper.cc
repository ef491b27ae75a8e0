// SPDX-License-Identifier: Apache-2.0
#include "tools/memory_keeper.h"

#include <unistd.h>

#include <cstdio>

#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxStatmBytes = 256;

// Long beside the time between two chunks, short beside a mount's life.
constexpr std::chrono::milliseconds kQuiet{2'000};

}  // namespace

uint64_t ResidentFileBytes() {
  const auto text = ReadFile("/proc/self/statm", kMaxStatmBytes);
  unsigned long long pages = 0;
  if (!text || std::sscanf(std::string(AsText(*text)).c_str(), "%*u %*u %llu", &pages) != 1)
    return 0;
  return pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::optional<std::chrono::milliseconds> MemoryKeeper::Check() {
  if (!awake_) return std::nullopt;
  const uint64_t activity = activity_();
  if (seen_ != activity) {
    seen_ = activity;
    return kQuiet;
  }
  seen_.reset();
  awake_ = false;
  release_();
  return std::nullopt;
}

}  // namespace layerfs

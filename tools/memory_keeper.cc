// SPDX-License-Identifier: Apache-2.0
#include "tools/memory_keeper.h"

namespace layerfs {
namespace {

// Long beside the time between two chunks, short beside a mount's life.
constexpr std::chrono::milliseconds kQuiet{2'000};

}  // namespace

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

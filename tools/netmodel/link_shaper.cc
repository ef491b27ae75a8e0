// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/link_shaper.h"

#include <algorithm>

namespace layerfs {
namespace {

// A sender's turn takes half a millisecond, but is not less than a packet, nor more than a pipe.
constexpr double kTurnSeconds = 0.0005;
constexpr double kLeastQuantum = 1460;
constexpr double kMostQuantum = 1 << 20;

}  // namespace

void LinkShaper::Configure(Duration one_way, double bytes_per_second) {
  one_way_ = one_way;
  bytes_per_second_ = bytes_per_second;
  quantum_bytes_ = static_cast<size_t>(
      shaped() ? std::clamp(bytes_per_second * kTurnSeconds, kLeastQuantum, kMostQuantum)
               : kMostQuantum);
  free_at_ = {};
  backlogged_ = false;
}

TimePoint LinkShaper::Send(size_t bytes, TimePoint now) {
  if (!shaped()) return now + one_way_;
  free_at_ = std::max(free_at_, backlogged_ ? now - kLateness : now);
  backlogged_ = true;
  free_at_ += std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(static_cast<double>(bytes) / bytes_per_second_));
  return free_at_ + one_way_;
}

}  // namespace layerfs

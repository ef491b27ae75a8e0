// SPDX-License-Identifier: Apache-2.0
// QuietWatch: whether a mount has been left alone for a moment, from looks at how often it was
// used. Time is the caller's. One thread at a time.
#pragma once

#include <cstdint>

#include "fetch/clock.h"

namespace layerfs {

class QuietWatch {
 public:
  struct Limits {
    Duration quiet{};         // without a use: it is quiet
    Duration longest_wait{};  // since the first look: it counts as quiet, however busy it is
  };
  // The first look. `uses` is a number that grows with each use.
  QuietWatch(Limits limits, TimePoint now, uint64_t uses)
      : limits_(limits), began_(now), last_use_(now), uses_(uses) {}

  // Another look; `waiting`: somebody waits for data, which is a use too. Whether it is quiet.
  bool Look(TimePoint now, uint64_t uses, bool waiting) {
    if (uses != uses_ || waiting) last_use_ = now;
    uses_ = uses;
    return now - last_use_ >= limits_.quiet || now - began_ >= limits_.longest_wait;
  }

 private:
  Limits limits_;
  TimePoint began_;
  TimePoint last_use_;
  uint64_t uses_;
};

}  // namespace layerfs

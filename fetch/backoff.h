// SPDX-License-Identifier: Apache-2.0
// Backoff: when to try again: exponentially, with full jitter, no sooner than the server asked for
// with Retry-After, until the deadline.
// One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>

#include "fetch/clock.h"
#include "index/base/error.h"

namespace layerfs {

class Backoff {
 public:
  struct Options {
    std::chrono::milliseconds timeout{60'000};  // without progress
    std::chrono::milliseconds first{100};       // the longest first wait; doubles each time
    std::chrono::milliseconds longest{10'000};
    uint64_t seed = 0;  // 0: chosen at random
  };
  Backoff(Clock& clock, Options options);

  // After a failure: waits and returns true to try again, or false at once to give up: the error is
  // not retryable, or the deadline would pass first.
  bool WaitAfter(const Error& error, std::optional<std::chrono::milliseconds> retry_after);
  // The same for whoever waits in their own way: how long, or nothing to give up.
  std::optional<std::chrono::milliseconds> NextWait(
      const Error& error, std::optional<std::chrono::milliseconds> retry_after);
  // Something arrived: the deadline and the waits begin anew.
  void NoteProgress();
  std::chrono::milliseconds left() const;
  int failures() const { return failures_; }

 private:
  Clock& clock_;
  const Options options_;
  std::mt19937_64 random_;
  TimePoint deadline_;
  std::chrono::milliseconds ceiling_;
  int failures_ = 0;
};

}  // namespace layerfs

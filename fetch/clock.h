// SPDX-License-Identifier: Apache-2.0
// Clock: the time, and waiting for it; a test has its own. WakeSignal: what a thread that waits
// for a time or for news waits on.
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace layerfs {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  // Waits on `changed` until it is notified or the time has come; may return early.
  virtual void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                         TimePoint until) = 0;
};

// The steady clock; lives for ever.
Clock& SteadyClock();

class WakeSignal {
 public:
  // Wakes the waiter, or keeps the next wait from waiting.
  void Notify();
  void WaitUntil(Clock& clock, TimePoint until);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool notified_ = false;
};

}  // namespace layerfs

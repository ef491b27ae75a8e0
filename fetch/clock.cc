// SPDX-License-Identifier: Apache-2.0
#include "fetch/clock.h"

namespace layerfs {
namespace {

class RealClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                 TimePoint until) override {
    if (until == TimePoint::max()) {
      changed.wait(lock);
    } else {
      changed.wait_until(lock, until);
    }
  }
};

}  // namespace

Clock& SteadyClock() {
  static RealClock clock;  // Stateless.
  return clock;
}

void WakeSignal::Notify() {
  const std::lock_guard lock(mutex_);
  notified_ = true;
  changed_.notify_all();
}

void WakeSignal::WaitUntil(Clock& clock, TimePoint until) {
  std::unique_lock lock(mutex_);
  while (!notified_ && clock.Now() < until) clock.WaitUntil(lock, changed_, until);
  notified_ = false;
}

}  // namespace layerfs

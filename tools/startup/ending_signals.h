// SPDX-License-Identifier: Apache-2.0
// EndingSignals: while it lives, INT, TERM and HUP end this process only when it has cleaned up,
// which is with this object; those that are ignored stay so. For a process of one thread, or whose
// other threads begin after it.
// EndingWatch: EndingSignals for a command that works in many threads.
#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <stop_token>
#include <thread>

namespace layerfs {

class EndingSignals {
 public:
  EndingSignals();
  ~EndingSignals();  // What came in the meantime takes effect.
  EndingSignals(const EndingSignals&) = delete;
  EndingSignals& operator=(const EndingSignals&) = delete;

  // Whether one waits: what takes long had better stop.
  static bool Pending();

 private:
  sigset_t before_{};
};

class EndingWatch {
 public:
  // What goes on for longer than `patience` after a signal is ended by it without cleaning up.
  explicit EndingWatch(std::chrono::milliseconds patience);

  // Becomes true when a signal waits. As EndingSignals, it takes effect with this object's end.
  const std::atomic<bool>& stopped() const { return stopped_; }

 private:
  void Watch(const std::stop_token& end, std::chrono::milliseconds patience);

  const EndingSignals ending_;
  std::atomic<bool> stopped_{false};
  std::jthread thread_;
};

}  // namespace layerfs

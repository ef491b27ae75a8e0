// SPDX-License-Identifier: Apache-2.0
// EndingSignals: while it lives, INT, TERM and HUP end this process only when it has cleaned up,
// which is with this object. For a process of one thread.
#pragma once

#include <csignal>

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

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// LinkShaper: when bytes that are sent over a link of a given rate and delay arrive: the arithmetic
// of the network model, without sockets or a clock. One for each direction.
// One thread at a time.
#pragma once

#include <cstddef>

#include "fetch/clock.h"

namespace layerfs {

class LinkShaper {
 public:
  // `bytes_per_second` 0: no bytes take any time.
  void Configure(Duration one_way, double bytes_per_second);

  // Whether the link takes more now: it is at most a little booked ahead, so that who comes next
  // waits little, and a thread that wakes up late leaves no gap.
  bool Takes(TimePoint now) const { return !shaped() || free_at_ <= now + kBookedAhead; }
  // When it will, where it does not.
  TimePoint TakesAt() const { return free_at_ - kBookedAhead; }
  // What one sender may send before it is another's turn.
  size_t quantum_bytes() const { return quantum_bytes_; }

  // Sends `bytes`; returns when the last of them arrives.
  TimePoint Send(size_t bytes, TimePoint now);
  // Nobody has anything to send: the time that passes now is lost to the link.
  void Idle() { backlogged_ = false; }

 private:
  static constexpr Duration kBookedAhead = std::chrono::milliseconds(1);
  // How late the thread may come and still have used the time, while senders were waiting.
  static constexpr Duration kLateness = std::chrono::milliseconds(20);
  bool shaped() const { return bytes_per_second_ > 0; }

  Duration one_way_{0};
  double bytes_per_second_ = 0;
  size_t quantum_bytes_ = 0;
  TimePoint free_at_{};  // when what it has taken will have been sent
  bool backlogged_ = false;
};

}  // namespace layerfs

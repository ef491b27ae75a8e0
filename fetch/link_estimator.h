// SPDX-License-Identifier: Apache-2.0
// LinkEstimator: what the transfers from one source tell about the link to it: its round trip
// (with the server's own time) and its bandwidth, after BBR's idea (Cardwell et al., ACM Queue
// 2016): the least of the recent times to the first byte, and the greatest of the recent rates of
// delivery.
// One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "fetch/blob_source.h"
#include "fetch/clock.h"

namespace layerfs {

class LinkEstimator {
 public:
  // A transfer ended. `link_bytes` came over the link, for this transfer and all others, while it
  // ran.
  void OnTransfer(const TransferResult& result, TimePoint started, TimePoint ended,
                  uint64_t link_bytes);

  // Nothing before the first transfer.
  std::optional<Duration> round_trip() const;
  double bytes_per_second() const { return rate_.value(); }  // 0 before the first transfer
  // The time to the first byte that 95 of 100 recent requests did not exceed.
  std::optional<Duration> first_byte_p95() const;

  // With fewer bytes than this on their way, the next request is due: its answer begins as the
  // others end. Beside a demand read it is what keeps the link full, and nothing that queues up;
  // else half as much more, which finds out whether the link carries more than it seemed to, and
  // twice as much while each round trip shows that it does.
  uint64_t window_bytes(bool beside_demand) const;
  // What a request should bring at least so that requests do not cost more than bytes; and a part
  // of the window, so that several connections carry it.
  uint64_t piece_bytes() const;
  // A gap between two wanted ranges that costs less than a round trip is fetched along.
  uint64_t bridge_bytes() const;
  // How long `bytes` take at the estimated rate.
  Duration TimeFor(uint64_t bytes) const;

 private:
  // The extreme of the last one to two periods.
  class Extreme {
   public:
    Extreme(bool greatest, Duration period) : greatest_(greatest), period_(period) {}
    void Add(double sample, TimePoint now);
    double value() const;  // 0 before the first sample

   private:
    double Choose(double a, double b) const;
    bool greatest_;
    Duration period_;
    TimePoint began_{};
    double current_ = 0;
    double previous_ = 0;
  };

  // Long enough to span quiet moments, short enough to notice that the link has changed.
  Extreme rate_{true, std::chrono::seconds(5)};
  Extreme measured_bytes_{true, std::chrono::seconds(5)};  // by one transfer and those beside it
  Extreme first_byte_{false, std::chrono::seconds(15)};
  // The rate when it was last seen to grow, and until when it is taken to be growing.
  double grown_rate_ = 0;
  bool growing_ = true;
  TimePoint grown_at_{};
  double first_byte_with_connecting_ = 0;  // seconds; while there is no better sample
  std::array<double, 64> recent_first_bytes_{};
  size_t recent_count_ = 0;
};

}  // namespace layerfs

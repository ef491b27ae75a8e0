// SPDX-License-Identifier: Apache-2.0
#include "fetch/link_estimator.h"

#include <algorithm>

namespace layerfs {
namespace {

// Before anything is known: what a slow line (10 Mbit/s) carries in a fifth of a second; it doubles
// with each round trip while the link is faster than that.
constexpr uint64_t kFirstWindowBytes = 256 * 1024;
constexpr uint64_t kFirstBridgeBytes = 32 * 1024;
// Enough to notice that a link has become faster, and for threads that wake up late on a busy
// machine; half a round trip for a demand read to wait behind. BBR keeps twice the product.
constexpr double kProbingGain = 1.5;
// While the rate still grows by a quarter in so many round trips, as BBR does at its start.
constexpr double kStartingGain = 2.89;  // 2 / ln 2, with which BBR doubles its rate each round
constexpr double kGrowth = 1.25;
constexpr int kRoundsOfNoGrowth = 3;
// From seeing that the link has room to the request on the wire: threads, a busy machine.
constexpr double kReactionSeconds = 0.001;
// A request shall be worth this much of the link's time. It costs us some 0.1 ms, and a registry
// milliseconds: docker-registry reads 4 MiB of the blob for each, whatever its range.
constexpr double kPieceSeconds = 0.008;
constexpr uint64_t kPiecesPerWindow = 4;
// Below this many samples a 95th percentile says nothing.
constexpr size_t kLeastSamples = 8;

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

void LinkEstimator::OnTransfer(const TransferResult& result, TimePoint started, TimePoint ended,
                               uint64_t link_bytes) {
  const double first_byte = Seconds(result.first_byte);
  // Nothing, or something that was there already.
  if (result.body_bytes == 0 || first_byte <= 0) return;
  if (result.new_connection) {
    first_byte_with_connecting_ = first_byte;
  } else {
    first_byte_.Add(first_byte, ended);
  }
  recent_first_bytes_[recent_count_++ % recent_first_bytes_.size()] = first_byte;
  const double seconds = Seconds(ended - started);
  if (seconds <= 0) return;
  rate_.Add(static_cast<double>(link_bytes) / seconds, ended);
  measured_bytes_.Add(static_cast<double>(link_bytes), ended);
  if (rate_.value() >= kGrowth * grown_rate_) {
    grown_rate_ = rate_.value();
    grown_at_ = ended;
  }
  growing_ = ended - grown_at_ < kRoundsOfNoGrowth * round_trip().value_or(Duration::zero());
}

std::optional<Duration> LinkEstimator::round_trip() const {
  if (first_byte_.value() > 0) return FromSeconds(first_byte_.value());
  if (first_byte_with_connecting_ > 0) return FromSeconds(first_byte_with_connecting_);
  return std::nullopt;
}

std::optional<Duration> LinkEstimator::first_byte_p95() const {
  const size_t count = std::min(recent_count_, recent_first_bytes_.size());
  if (count < kLeastSamples) return std::nullopt;
  std::array<double, 64> sorted = recent_first_bytes_;
  const size_t rank = count * 95 / 100;
  const auto nth = sorted.begin() + static_cast<ptrdiff_t>(rank);
  std::nth_element(sorted.begin(), nth, sorted.begin() + static_cast<ptrdiff_t>(count));
  return FromSeconds(*nth);
}

uint64_t LinkEstimator::window_bytes(bool beside_demand) const {
  const std::optional<Duration> trip = round_trip();
  if (!trip.has_value() || bytes_per_second() <= 0) return kFirstWindowBytes;
  const double gain = beside_demand ? 1 : growing_ ? kStartingGain : kProbingGain;
  const auto window =
      static_cast<uint64_t>(bytes_per_second() * (Seconds(*trip) * gain + kReactionSeconds));
  // What a small transfer took says of the link only that it is no slower.
  return measured_bytes_.value() < kFirstWindowBytes ? std::max(window, kFirstWindowBytes) : window;
}

uint64_t LinkEstimator::piece_bytes() const {
  const auto worth = static_cast<uint64_t>(bytes_per_second() * kPieceSeconds);
  return std::max(worth, window_bytes(false) / kPiecesPerWindow);
}

uint64_t LinkEstimator::bridge_bytes() const {
  const std::optional<Duration> trip = round_trip();
  if (!trip.has_value() || bytes_per_second() <= 0) return kFirstBridgeBytes;
  return static_cast<uint64_t>(Seconds(*trip) * bytes_per_second());
}

Duration LinkEstimator::TimeFor(uint64_t bytes) const {
  if (bytes_per_second() <= 0)
    return bytes > kFirstWindowBytes ? Duration::max() : Duration::zero();
  return FromSeconds(static_cast<double>(bytes) / bytes_per_second());
}

void LinkEstimator::Extreme::Add(double sample, TimePoint now) {
  if (now - began_ > period_) {
    previous_ = now - began_ > 2 * period_ ? 0 : current_;
    current_ = 0;
    began_ = now;
  }
  current_ = Choose(current_, sample);
}

double LinkEstimator::Extreme::value() const { return Choose(current_, previous_); }

double LinkEstimator::Extreme::Choose(double a, double b) const {
  if (a == 0 || b == 0) return std::max(a, b);
  return greatest_ ? std::max(a, b) : std::min(a, b);
}

}  // namespace layerfs

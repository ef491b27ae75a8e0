// SPDX-License-Identifier: Apache-2.0
#include "fetch/backoff.h"

#include <algorithm>

namespace layerfs {

Backoff::Backoff(Clock& clock, Options options)
    : clock_(clock),
      options_(options),
      random_(options.seed != 0 ? options.seed : std::random_device()()),
      deadline_(clock.Now() + options.timeout),
      ceiling_(options.first) {}

void Backoff::NoteProgress() {
  deadline_ = clock_.Now() + options_.timeout;
  ceiling_ = options_.first;
}

std::chrono::milliseconds Backoff::left() const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - clock_.Now());
  return std::max(left, std::chrono::milliseconds(0));
}

bool Backoff::WaitAfter(const Error& error, std::optional<std::chrono::milliseconds> retry_after) {
  const auto wait = NextWait(error, retry_after);
  if (!wait.has_value()) return false;
  WakeSignal signal;
  signal.WaitUntil(clock_, clock_.Now() + *wait);
  return true;
}

std::optional<std::chrono::milliseconds> Backoff::NextWait(
    const Error& error, std::optional<std::chrono::milliseconds> retry_after) {
  ++failures_;
  if (!error.retryable) return std::nullopt;
  std::uniform_int_distribution<int64_t> pick(0, ceiling_.count());
  auto wait = std::chrono::milliseconds(pick(random_));
  // Jitter on top of what the server asked for, so that its clients do not come back as one.
  if (retry_after) wait += *retry_after;
  ceiling_ = std::min(ceiling_ * 2, options_.longest);
  if (clock_.Now() + wait >= deadline_) return std::nullopt;
  return wait;
}

}  // namespace layerfs

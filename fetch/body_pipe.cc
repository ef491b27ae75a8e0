// SPDX-License-Identifier: Apache-2.0
#include "fetch/body_pipe.h"

namespace layerfs {

BodyFlow BodyPipe::Offer(ByteSpan data) {
  return state_.WithNotify([&](State& state) {
    if (state.size > 0 && state.size + data.size() > capacity_) {
      state.paused = true;
      return BodyFlow::kFull;
    }
    state.pieces.emplace_back(data.begin(), data.end());
    state.size += data.size();
    return BodyFlow::kTaken;
  });
}

void BodyPipe::Finish(const RegistryResult& result) {
  state_.WithNotify([&](State& state) { state.result = result; });
}

std::optional<Bytes> BodyPipe::Next(const std::function<void()>& resume) {
  bool wake = false;
  std::optional<Bytes> piece = state_.WaitThen(
      [](State& state) { return !state.pieces.empty() || state.result.has_value(); },
      [&](State& state) -> std::optional<Bytes> {
        if (state.pieces.empty()) return std::nullopt;
        Bytes front = std::move(state.pieces.front());
        state.pieces.pop_front();
        state.size -= front.size();
        // Half empty: waking the loop for every piece would cost more than it brings.
        if (state.paused && state.size <= capacity_ / 2) wake = true;
        if (wake) state.paused = false;
        return front;
      });
  if (wake) resume();
  return piece;
}

RegistryResult BodyPipe::result() const {
  return state_.With([](const State& state) { return state.result.value_or(RegistryResult()); });
}

}  // namespace layerfs

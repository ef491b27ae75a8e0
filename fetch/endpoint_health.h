// SPDX-License-Identifier: Apache-2.0
// EndpointHealth: whether an endpoint that failed is worth asking. It is left
// out for a while, the longer the more often it has failed, then one request
// tries it again. Thread-safe.
#pragma once

#include <algorithm>

#include "fetch/clock.h"
#include "index/base/synchronized.h"

namespace layerfs {

class EndpointHealth {
 public:
  static constexpr std::chrono::seconds kFirstRest{5};
  static constexpr std::chrono::seconds kLongestRest{300};
  static constexpr int kMostDoublings = 6;  // from the first rest to the longest

  // True for all while it is well, and for the one that is to find out once it
  // has rested.
  bool Usable(TimePoint now) {
    return state_.With([&](State& state) {
      if (state.failures == 0) return true;
      if (now < state.rests_until) return false;
      state.rests_until = now + kFirstRest;  // Others wait for what comes of it.
      state.distrusted = false;
      return true;
    });
  }
  // The end of an answer that brought wrong bytes comes behind Distrust, and does not lift it.
  void Succeeded() {
    state_.With([](State& state) {
      if (!state.distrusted) state = State();
    });
  }
  // True where it was well until now.
  bool Failed(TimePoint now) {
    return state_.With([&](State& state) {
      const int doublings = std::min(state.failures, kMostDoublings);
      const Duration rest = std::min<Duration>(kFirstRest * (1 << doublings), kLongestRest);
      state.rests_until = now + rest;
      return state.failures++ == 0;
    });
  }
  // It serves wrong bytes: worse than not answering.
  void Distrust(TimePoint now) {
    state_.With([&](State& state) {
      state.failures = std::max(state.failures + 1, kMostDoublings + 1);
      state.rests_until = now + kLongestRest;
      state.distrusted = true;
    });
  }

 private:
  struct State {
    int failures = 0;
    TimePoint rests_until{};
    bool distrusted = false;
  };
  Synchronized<State> state_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/synchronized.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace layerfs {
namespace {

TEST(Synchronized, WithIsExclusive) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 10000;
  Synchronized<int> counter(5);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < kRounds; ++round) counter.With([](int& value) { ++value; });
      });
    }
  }
  EXPECT_EQ(std::as_const(counter).With([](const int& value) { return value; }),
            5 + kThreads * kRounds);
}

TEST(Synchronized, WithReturnsWhatItsFunctionReturns) {
  Synchronized<std::string> text("abc");
  EXPECT_EQ(text.With([](std::string& value) { return value.size(); }), 3U);
  const int answer = text.WithNotify([](std::string&) { return 42; });
  EXPECT_EQ(answer, 42);
}

TEST(Synchronized, WaitThenWakesWhenItsConditionHolds) {
  struct Turns {
    int next = 0;
    std::string order;
  };
  Synchronized<Turns> turns;
  const auto play = [&](int parity, char mark) {
    for (int turn = parity; turn < 20; turn += 2) {
      turns.WaitThen([&](Turns& state) { return state.next == turn; },
                     [&](Turns& state) { state.order += mark; });
      turns.WithNotify([](Turns& state) { ++state.next; });
    }
  };
  {
    const std::jthread odd([&] { play(1, 'b'); });
    play(0, 'a');
  }
  EXPECT_EQ(turns.With([](Turns& state) { return state.order; }), "abababababababababab");
}

TEST(Synchronized, WithNotifyWakesEveryone) {
  Synchronized<bool> open(false);
  Synchronized<int> through(0);
  {
    std::vector<std::jthread> waiters;
    for (int i = 0; i < 3; ++i) {
      waiters.emplace_back([&] {
        open.WaitThen([](bool& is_open) { return is_open; }, [](bool&) {});
        through.With([](int& count) { ++count; });
      });
    }
    open.WithNotify([](bool& is_open) { is_open = true; });
  }
  EXPECT_EQ(through.With([](int& count) { return count; }), 3);
}

}  // namespace
}  // namespace layerfs

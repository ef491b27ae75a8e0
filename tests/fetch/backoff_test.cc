// SPDX-License-Identifier: Apache-2.0
#include "fetch/backoff.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/fetch/registry_testing.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;

const Error kAgain{ErrorCode::kNetwork, "again", true};

TEST(Backoff, WaitsAreRandomBelowACeilingThatDoubles) {
  JumpingClock clock;
  Backoff backoff(clock,
                  {.timeout = milliseconds(1'000'000), .longest = milliseconds(10'000), .seed = 1});
  Duration ceiling = milliseconds(100);
  bool below_half = false;
  bool above_half = false;
  for (int i = 0; i < 40; ++i) {
    const TimePoint before = clock.Now();
    ASSERT_TRUE(backoff.WaitAfter(kAgain, std::nullopt));
    const Duration waited = clock.Now() - before;
    EXPECT_LE(waited, ceiling);
    (waited < ceiling / 2 ? below_half : above_half) = true;
    ceiling = std::min<Duration>(ceiling * 2, milliseconds(10'000));
  }
  EXPECT_TRUE(below_half && above_half);
}

TEST(Backoff, RetryAfterIsTheLeastWait) {
  JumpingClock clock;
  Backoff backoff(clock, {.seed = 1});
  const TimePoint before = clock.Now();
  ASSERT_TRUE(backoff.WaitAfter(kAgain, milliseconds(5'000)));
  EXPECT_GE(clock.Now() - before, milliseconds(5'000));
  EXPECT_LE(clock.Now() - before, milliseconds(5'200));
}

TEST(Backoff, GivesUpAtOnceWhenTheDeadlineWouldPass) {
  JumpingClock clock;
  Backoff backoff(clock, {.timeout = milliseconds(1'000), .seed = 1});
  const TimePoint before = clock.Now();
  EXPECT_FALSE(backoff.WaitAfter(kAgain, milliseconds(2'000)));
  EXPECT_EQ(clock.Now(), before);
}

TEST(Backoff, GivesUpOnWhatCannotGetBetter) {
  JumpingClock clock;
  Backoff backoff(clock, {});
  EXPECT_FALSE(backoff.WaitAfter({ErrorCode::kNotFound, "gone"}, std::nullopt));
}

TEST(Backoff, ProgressStartsTheDeadlineAnew) {
  JumpingClock clock;
  Backoff backoff(clock, {.timeout = milliseconds(1'000), .seed = 1});
  clock.Advance(milliseconds(999));
  backoff.NoteProgress();
  clock.Advance(milliseconds(500));
  EXPECT_EQ(backoff.left(), milliseconds(500));
  clock.Advance(milliseconds(600));
  EXPECT_FALSE(backoff.WaitAfter(kAgain, std::nullopt));
}

TEST(Backoff, DifferentClientsDoNotComeBackTogether) {
  JumpingClock one;
  JumpingClock two;
  Backoff a(one, {.seed = 1});
  Backoff b(two, {.seed = 2});
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(a.WaitAfter(kAgain, std::nullopt));
    EXPECT_TRUE(b.WaitAfter(kAgain, std::nullopt));
  }
  EXPECT_NE(one.Now(), two.Now());
}

}  // namespace
}  // namespace layerfs

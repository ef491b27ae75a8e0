// SPDX-License-Identifier: Apache-2.0
// Which requests are sent once more, because what they ask for is slow to come.
#include <algorithm>

#include "tests/fetch/scheduler_core_testing.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class SchedulerHedgeTest : public SchedulerCoreTest {
 protected:
  // The next transfer after so long.
  TransferPointer StartAfter(Duration time) {
    now_ += time;
    core_.OnTimer(now_, actions_);
    return Start();
  }
};

TEST_F(SchedulerHedgeTest, SlowFirstByteIsHedgedAfterThe95thPercentileAndTheLoserIsCancelled) {
  Learn(milliseconds(30), 12.5e6);
  Learn(milliseconds(30), 12.5e6, 3'000'000);
  Submit(0, FetchClass::kDemand);
  const TransferPointer slow = Start();
  now_ += milliseconds(29);
  core_.OnTimer(now_, actions_);
  EXPECT_EQ(nullptr, Start()) << "not before most have answered";
  EXPECT_LE(core_.NextWake(now_), now_ + milliseconds(2));
  now_ += milliseconds(2);
  core_.OnTimer(now_, actions_);
  const TransferPointer hedge = Start();
  ASSERT_NE(nullptr, hedge);
  EXPECT_EQ(slow->range.offset, hedge->range.offset);
  EXPECT_FALSE(slow->range.hedge);
  EXPECT_TRUE(hedge->range.hedge) << "it is to come from elsewhere";
  Arrive(hedge);
  ASSERT_EQ(1U, actions_.cancel.size());
  EXPECT_EQ(*slow->source_id, actions_.cancel[0].transfer);
  EXPECT_TRUE(slow->stop.load());
  EXPECT_EQ(1U, core_.Statistics().hedges);
}

TEST_F(SchedulerHedgeTest, TheVeryFirstRequestIsHedgedToo) {
  Submit(0, FetchClass::kDemand);
  ASSERT_NE(nullptr, Start());
  EXPECT_EQ(nullptr, StartAfter(milliseconds(1900)));
  EXPECT_NE(nullptr, StartAfter(milliseconds(200)));
  EXPECT_EQ(1U, core_.Statistics().hedges);
}

TEST_F(SchedulerHedgeTest, AnAnswerThatCreepsIsHedged) {
  Learn(milliseconds(30), 12.5e6);
  Submit(0, FetchClass::kDemand);
  const TransferPointer creeping = Start();
  creeping->received.store(100);
  EXPECT_EQ(nullptr, StartAfter(milliseconds(500))) << "it has begun";
  const TransferPointer hedge = StartAfter(milliseconds(700));
  ASSERT_NE(nullptr, hedge);
  // Near its end by the count of bytes, but not by the clock.
  creeping->received.store(kStored - 10);
  Arrive(hedge);
  EXPECT_EQ(1U, actions_.cancel.size());
  EXPECT_TRUE(creeping->stop.load());
}

TEST_F(SchedulerHedgeTest, AnAnswerThatComesAtTheLinksSpeedIsNotHedged) {
  Learn(milliseconds(30), 1e5);  // a second a chunk
  Submit(0, FetchClass::kDemand);
  const TransferPointer slow = Start();
  slow->received.store(kStored / 4);
  EXPECT_EQ(nullptr, StartAfter(milliseconds(1500)));
  slow->received.store(kStored / 2);
  EXPECT_EQ(nullptr, StartAfter(milliseconds(1000)));
  EXPECT_EQ(0U, core_.Statistics().hedges);
}

TEST_F(SchedulerHedgeTest, OneThatCannotBeAffordedIsMadeLater) {
  Learn(milliseconds(30), 12.5e6);  // 20 requests: 3 hedges, 2 of them unearned
  std::vector<TransferPointer> slow;
  for (uint64_t i = 0; i < 5; ++i) {
    Submit(i, FetchClass::kDemand, 10 << 20);
    slow.push_back(Start());
    ASSERT_NE(nullptr, slow.back());
  }
  now_ += milliseconds(50);
  core_.OnTimer(now_, actions_);
  const std::vector<TransferPointer> hedges = StartAll();
  EXPECT_EQ(3U, hedges.size());
  EXPECT_LE(core_.NextWake(now_), now_ + milliseconds(60));
  for (const TransferPointer& hedge : hedges) {
    Arrive(hedge);
    End(hedge, milliseconds(30));
  }
  for (const auto& [source, cancelled] : actions_.cancel) {
    End(*std::ranges::find(slow, cancelled, [](const TransferPointer& t) { return *t->source_id; }),
        milliseconds(30), Fail(ErrorCode::kCancelled, "cancelled"));
  }
  Learn(milliseconds(30), 12.5e6, 3'000'000);
  core_.OnTimer(now_, actions_);
  EXPECT_EQ(4U, core_.Statistics().hedges);
}

}  // namespace
}  // namespace layerfs

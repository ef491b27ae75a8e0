// SPDX-License-Identifier: Apache-2.0
// What the scheduler decides, event by event, at times that the test chooses.
#include "tests/fetch/scheduler_core_testing.h"

namespace layerfs {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(SchedulerCoreTest, TheMoreUrgentClassGoesFirstAndTheOlderWithinAClass) {
  const std::vector<std::pair<uint64_t, FetchClass>> wanted = {
      {40, FetchClass::kFill},     {30, FetchClass::kPrefetch}, {20, FetchClass::kReadahead},
      {10, FetchClass::kDemand},   {41, FetchClass::kFill},     {12, FetchClass::kDemand},
      {50, FetchClass::kPrefetch},
  };
  // Far apart, so that nothing is joined.
  for (const auto& [place, fetch_class] : wanted) Submit(place, fetch_class, 10 << 20);
  std::vector<uint64_t> order;
  while (const TransferPointer transfer = Start()) {
    order.push_back(transfer->range.offset / (kStored + (10 << 20)));
    Arrive(transfer);
    End(transfer, milliseconds(1));
  }
  EXPECT_EQ((std::vector<uint64_t>{10, 12, 20, 30, 50, 40, 41}), order);
}

TEST_F(SchedulerCoreTest, NeighboursOfManyWaitersJoinIntoOneRange) {
  Learn(milliseconds(30), 12.5e6);
  for (const uint64_t place : {7, 5, 6, 8}) Submit(place, FetchClass::kDemand);
  const auto started = StartAll();
  ASSERT_EQ(1U, started.size());
  EXPECT_EQ(5 * kStored, started[0]->range.offset);
  EXPECT_EQ(4 * kStored, started[0]->range.size);
}

struct GapRow {
  const char* name;
  uint64_t gap;
  Duration round_trip;
  double bytes_per_second;
  size_t requests;
};

class GapTest : public SchedulerCoreTest, public testing::WithParamInterface<GapRow> {};

TEST_P(GapTest, IsFetchedAlongOnlyWhereThatIsCheaperThanARoundTrip) {
  const GapRow& row = GetParam();
  Learn(row.round_trip, row.bytes_per_second);
  Submit(0, FetchClass::kDemand, row.gap);
  Submit(1, FetchClass::kDemand, row.gap);
  EXPECT_EQ(row.requests, StartAll().size());
}

INSTANTIATE_TEST_SUITE_P(
    Links, GapTest,
    testing::Values(GapRow{"ShortOnALongLink", 20'000, milliseconds(30), 12.5e6, 1},
                    GapRow{"AsLongAsTheChunks", 250'000, milliseconds(30), 12.5e6, 2},
                    GapRow{"ShortOnAShortLink", 20'000, microseconds(200), 12.5e6, 2},
                    GapRow{"ShortOnAFastShortLink", 20'000, microseconds(200), 1e9, 1}),
    [](const auto& info) { return std::string(info.param.name); });

struct LinkRow {
  const char* name;
  Duration round_trip;
  double bytes_per_second;
};

class LinkTest : public SchedulerCoreTest, public testing::WithParamInterface<LinkRow> {
 protected:
  double product() const {
    return std::chrono::duration<double>(GetParam().round_trip).count() *
           GetParam().bytes_per_second;
  }
};

// With less than the link carries in a round trip on its way, the link would fall idle.
TEST_P(LinkTest, FillKeepsTheLinkFullAndLittleMoreThanThatOnTheWay) {
  Learn(GetParam().round_trip, GetParam().bytes_per_second);
  for (uint64_t i = 0; i < 2000; ++i) Submit(i, FetchClass::kFill);
  const double on_the_way = static_cast<double>(RangeBytes(StartAll()));
  EXPECT_GE(on_the_way, std::min(product() * 1.1, 32e6 * 0.9));
  const double pieces = std::max(product() * 3 / 8, GetParam().bytes_per_second * 0.009);
  EXPECT_LE(on_the_way, product() * 1.5 + pieces + kStored);
}

TEST_P(LinkTest, NextRequestIsDueWhileTheLastIsStillComing) {
  Learn(GetParam().round_trip, GetParam().bytes_per_second);
  for (uint64_t i = 0; i < 2000; ++i) Submit(i, FetchClass::kFill);
  const std::vector<TransferPointer> filling = StartAll();
  ASSERT_FALSE(filling.empty());
  Link& link = *filling[0]->link;
  const uint64_t room_at = link.room_at.load();
  ASSERT_GT(room_at, link.received.load());
  uint64_t left = room_at - link.received.load();
  ASSERT_LT(left, RangeBytes(filling));
  for (const TransferPointer& transfer : filling) {
    const uint64_t came = std::min(left, transfer->range.size);
    transfer->received.store(came);
    link.received.fetch_add(came);
    left -= came;
  }
  EXPECT_FALSE(StartAll().empty());
}

TEST_P(LinkTest, DemandStartsAtOnceWhileFillIsOnTheWayAndHoldsFillBack) {
  Learn(GetParam().round_trip, GetParam().bytes_per_second);
  for (uint64_t i = 0; i < 2000; ++i) Submit(i, FetchClass::kFill);
  const std::vector<TransferPointer> filling = StartAll();
  Submit(500'000, FetchClass::kDemand);
  const std::vector<TransferPointer> demand = StartAll();
  ASSERT_EQ(1U, demand.size());
  EXPECT_EQ(FetchClass::kDemand, demand[0]->fetch_class);
  // While the demand read is out, and a round trip after it, in which the reader is likely to come
  // back, no more fill is sent than keeps the link full, a chunk at a time.
  const auto expect_little_fill = [&](double of_it_already) {
    std::vector<TransferPointer> sent = StartAll();
    double bytes = of_it_already;
    for (const TransferPointer& transfer : sent) {
      EXPECT_LE(transfer->range.size, std::max<double>(kStored, product() / 7));
      bytes += static_cast<double>(transfer->range.size);
    }
    EXPECT_LE(bytes, product() * 8 / 7 + GetParam().bytes_per_second * 0.001 + kStored);
    return sent;
  };
  for (const TransferPointer& transfer : filling) {
    Arrive(transfer);
    End(transfer, std::chrono::duration_cast<microseconds>(GetParam().round_trip));
  }
  const auto beside = expect_little_fill(kStored);
  Arrive(demand[0]);
  End(demand[0], std::chrono::duration_cast<microseconds>(GetParam().round_trip));
  expect_little_fill(static_cast<double>(RangeBytes(beside)));
  EXPECT_LE(core_.NextWake(now_), now_ + GetParam().round_trip);
  now_ += GetParam().round_trip;
  EXPECT_FALSE(StartAll().empty());
}

// A reader that waits for each chunk, with readahead behind it: whatever its first, lonely requests
// measured, the window grows until the link is full.
TEST_P(LinkTest, SequentialReaderFillsTheLink) {
  const double rate = GetParam().bytes_per_second;
  const auto time_for = [&](uint64_t bytes) {
    return std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(static_cast<double>(bytes) / rate));
  };
  struct Event {
    TransferPointer transfer;
    uint64_t received;
  };
  std::multimap<TimePoint, Event> events;
  TimePoint link_free = now_;
  uint64_t asked = 0;
  uint64_t done = 0;
  const auto send = [&] {
    Submit(done, FetchClass::kDemand);
    while (asked < done + 400) Submit(asked++, FetchClass::kReadahead);
    for (const TransferPointer& transfer : StartAll()) {
      const TimePoint begin = std::max(link_free, now_ + GetParam().round_trip);
      const uint64_t size = transfer->range.size;
      for (int quarter = 1; quarter <= 4; ++quarter) {
        const uint64_t received = size * static_cast<uint64_t>(quarter) / 4;
        events.emplace(begin + time_for(received), Event{transfer, received});
      }
      link_free = begin + time_for(size);
    }
  };
  send();
  const TimePoint start = now_;
  TimePoint settled;
  uint64_t bytes = 0;
  while (now_ < start + 300 * GetParam().round_trip) {
    ASSERT_FALSE(events.empty());
    const auto [at, event] = *events.begin();
    events.erase(events.begin());
    now_ = at;
    const TransferPointer& transfer = event.transfer;
    const uint64_t came = event.received - transfer->received.exchange(event.received);
    transfer->link->received.fetch_add(came);
    if (now_ > start + 100 * GetParam().round_trip) {
      if (settled == TimePoint{}) settled = now_;
      bytes += came;
    }
    if (event.received == transfer->range.size) {
      done += transfer->parts.size();
      Arrive(transfer);
      End(transfer, std::chrono::duration_cast<microseconds>(GetParam().round_trip));
    }
    send();
  }
  const double seconds = std::chrono::duration<double>(now_ - settled).count();
  EXPECT_GE(static_cast<double>(bytes) / seconds, 0.97 * rate);
}

INSTANTIATE_TEST_SUITE_P(Profiles, LinkTest,
                         testing::Values(LinkRow{"Cloud", milliseconds(2), 125e6},
                                         LinkRow{"Wan", milliseconds(30), 12.5e6},
                                         LinkRow{"Bad", milliseconds(150), 1.25e6},
                                         LinkRow{"FarAndFast", milliseconds(100), 125e6}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(SchedulerCoreTest, UnknownLinkIsTriedGently) {
  for (uint64_t i = 0; i < 2000; ++i) Submit(i, FetchClass::kFill);
  EXPECT_LE(RangeBytes(StartAll()), 256 * 1024 + kStored);
}

// What an index or a manifest took, most of it a round trip, is not what the link carries.
TEST_F(SchedulerCoreTest, LinkThatHasCarriedLittleIsTriedAsAnUnknownOne) {
  Learn(milliseconds(100), 0.5e6);
  Submit(0, FetchClass::kFill);
  const TransferPointer next = Start();
  EXPECT_GE(next->link->estimator.window_bytes(false), LinkEstimator().window_bytes(false));
}

TEST_F(SchedulerCoreTest, WindowLeapsWhileEachRoundTripShowsALinkThatCarriesMore) {
  const auto window_after = [&](double bytes_per_second) {
    Submit(static_cast<uint64_t>(bytes_per_second), FetchClass::kFill);
    const TransferPointer transfer = Start();
    const std::shared_ptr<Link> link = transfer->link;
    now_ += milliseconds(100);
    transfer->received.store(kStored);
    link->received.fetch_add(static_cast<uint64_t>(bytes_per_second * 0.1));
    Arrive(transfer);
    End(transfer, milliseconds(100));
    return static_cast<double>(link->estimator.window_bytes(false));
  };
  EXPECT_GE(window_after(10e6), 1.9e6);
  EXPECT_GE(window_after(20e6), 3.9e6);
  for (int i = 0; i < 4; ++i) window_after(20e6 + i);
  EXPECT_LE(window_after(20e6), 3.1e6) << "it has shown all that it has";
}

TEST_F(SchedulerCoreTest, OddBreakIsAskedAgainAtOnceAndTheNextOneLater) {
  Learn(milliseconds(150), 1.25e6);
  Submit(0, FetchClass::kDemand);
  End(Start(), microseconds(0), Fail(ErrorCode::kNetwork, "reset", true));
  const TransferPointer again = Start();
  ASSERT_NE(nullptr, again);
  End(again, microseconds(0), Fail(ErrorCode::kNetwork, "reset", true));
  EXPECT_EQ(nullptr, Start());
  now_ = core_.NextWake(now_);
  core_.OnTimer(now_, actions_);
  EXPECT_NE(nullptr, Start());
}

// A chunk that does not fit what is left of the window waits where more of it would be over than
// under: each byte of fill that is on its way makes the demand read wait.
TEST_F(SchedulerCoreTest, BesideADemandReadTheWindowIsKeptToOnAverage) {
  Learn(milliseconds(30), 12.5e6);
  Submit(500'000, FetchClass::kDemand);
  const TransferPointer demand = Start();
  ASSERT_NE(nullptr, demand);
  const uint64_t window = demand->link->estimator.window_bytes(true);
  // So that three chunks leave a fifth of one.
  demand->received.store(3 * kStored + kStored / 5 + kStored - window);
  for (uint64_t i = 0; i < 100; ++i) Submit(2 * i, FetchClass::kFill);
  EXPECT_EQ(3U, StartAll().size());
  Link& link = *demand->link;
  const uint64_t left = link.room_at.load() - link.received.load();
  EXPECT_LE(left, kStored / 2);
  demand->received.fetch_add(left);
  link.received.fetch_add(left);
  EXPECT_EQ(1U, StartAll().size());
}

TEST_F(SchedulerCoreTest, QueuedFillThatIsDemandedGoesFirst) {
  Learn(milliseconds(30), 12.5e6);
  for (uint64_t i = 0; i < 100; ++i) Submit(2 * i, FetchClass::kFill);
  const std::vector<TransferPointer> filling = StartAll();
  Submit(150, FetchClass::kDemand);
  const std::vector<TransferPointer> started = StartAll();
  ASSERT_EQ(1U, started.size());
  EXPECT_EQ(150 * kStored, started[0]->range.offset);
  EXPECT_EQ(FetchClass::kDemand, started[0]->fetch_class);
}

TEST_F(SchedulerCoreTest, DemandDeepInALongTransferIsAskedForAgainAndDecodedOnce) {
  Learn(milliseconds(30), 125e6);
  for (uint64_t i = 0; i < 8; ++i) Submit(i, FetchClass::kFill);
  const TransferPointer filling = Start();
  ASSERT_EQ(8U, filling->parts.size());
  // The link has become slow: what is last in the transfer is seconds away.
  now_ += seconds(30);
  Learn(milliseconds(30), 0.2e6, 2'000'000, FetchClass::kDemand);
  Submit(7, FetchClass::kDemand);
  const TransferPointer again = Start();
  ASSERT_NE(nullptr, again);
  EXPECT_EQ(7 * kStored, again->range.offset);
  const FlightPointer flight = again->parts[0].flight;
  EXPECT_TRUE(core_.OnArrived(again, 0));
  EXPECT_FALSE(core_.OnArrived(filling, 7));
  core_.OnDecoded(flight, std::make_shared<const Bytes>(), now_, actions_);
  EXPECT_TRUE(flight->done);
}

TEST_F(SchedulerCoreTest, DemandThatIsAboutToArriveIsNotAskedForAgain) {
  Learn(milliseconds(30), 125e6);
  for (uint64_t i = 0; i < 8; ++i) Submit(i, FetchClass::kFill);
  const TransferPointer filling = Start();
  ASSERT_EQ(8U, filling->parts.size());
  Submit(7, FetchClass::kDemand);
  EXPECT_EQ(nullptr, Start());
}

TEST_F(SchedulerCoreTest, WhatIsOnItsWayOrUndecodedIsBounded) {
  Learn(milliseconds(100), 1e9);
  for (uint64_t i = 0; i < 5000; ++i) Submit(i, FetchClass::kFill);
  const std::vector<TransferPointer> filling = StartAll();
  EXPECT_LE(RangeBytes(filling), uint64_t{32} << 20);
  // Arrived and not decoded counts as well.
  for (const TransferPointer& transfer : filling) {
    for (size_t i = 0; i < transfer->parts.size(); ++i) EXPECT_TRUE(core_.OnArrived(transfer, i));
    End(transfer, milliseconds(100));
  }
  EXPECT_EQ(nullptr, Start());
  // Demand has the other half.
  Submit(100'000, FetchClass::kDemand);
  EXPECT_NE(nullptr, Start());
}

TEST_F(SchedulerCoreTest, OnASlowLinkDemandReadsGoOneAfterTheOther) {
  Learn(milliseconds(30), 125'000);
  for (uint64_t i = 0; i < 20; ++i) Submit(2 * i, FetchClass::kDemand, 10 << 20);
  EXPECT_LE(StartAll().size(), 4u);
}

TEST_F(SchedulerCoreTest, OnAFastLinkDemandReadsGoSideBySide) {
  Learn(milliseconds(30), 12.5e6);
  for (uint64_t i = 0; i < 20; ++i) Submit(2 * i, FetchClass::kDemand, 10 << 20);
  EXPECT_EQ(StartAll().size(), 20u);
}

// Their readers may be gone, and the registry back.
TEST_F(SchedulerCoreTest, RequestsThatNobodyAnswersTakeNoPlaces) {
  Learn(milliseconds(30), 12.5e6);
  for (uint64_t i = 0; i < 64; ++i) Submit(2 * i, FetchClass::kDemand, 10 << 20);
  const size_t places = StartAll().size();
  EXPECT_LT(places, 64u);
  EXPECT_LE(core_.NextWake(now_), now_ + seconds(1));
  now_ += seconds(1);
  EXPECT_EQ(StartAll().size(), 64 - places);
}

TEST_F(SchedulerCoreTest, ALinkOnWhichNothingWorksIsGivenARest) {
  for (uint64_t i = 0; i < 64; ++i) Submit(2 * i, FetchClass::kDemand, 10 << 20);
  int attempts = 0;
  const TimePoint end = now_ + seconds(30);
  while (now_ < end) {
    for (const TransferPointer& transfer : StartAll()) {
      ++attempts;
      End(transfer, microseconds(0), Fail(ErrorCode::kNetwork, "refused", true));
    }
    now_ = std::min(end, std::max(core_.NextWake(now_), now_ + milliseconds(1)));
    core_.OnTimer(now_, actions_);
  }
  EXPECT_LE(attempts, 64 * 20);
  EXPECT_GE(attempts, 64);
}

TEST_F(SchedulerCoreTest, AReaderWhoComesWhileTheLinkRestsIsTriedWithinItsOwnTime) {
  for (uint64_t i = 0; i < 64; ++i) Submit(2 * i, FetchClass::kDemand, 10 << 20);
  const TimePoint end = now_ + seconds(30);
  while (now_ < end) {
    for (const TransferPointer& transfer : StartAll()) {
      End(transfer, microseconds(0), Fail(ErrorCode::kNetwork, "refused", true));
    }
    now_ = std::min(end, std::max(core_.NextWake(now_), now_ + milliseconds(1)));
    core_.OnTimer(now_, actions_);
  }
  for (const TransferPointer& transfer : StartAll()) {
    End(transfer, microseconds(0), Fail(ErrorCode::kNetwork, "refused", true));
  }
  ASSERT_EQ(Start(), nullptr) << "the link rests";
  ChunkRequest request = RequestOf(1001, FetchClass::kDemand, 0);
  request.timeout = milliseconds(400);
  core_.Submit(std::move(request), [](const Result<SharedBytes>&) {}, now_);
  const TimePoint came = now_;
  TransferPointer asked;
  while (asked == nullptr && now_ < came + seconds(1)) {
    now_ = std::max(core_.NextWake(now_), now_ + milliseconds(1));
    core_.OnTimer(now_, actions_);
    asked = Start();
  }
  ASSERT_NE(asked, nullptr);
  EXPECT_LE(now_, came + milliseconds(201));
}

// Other blobs are there, and nobody has to wait for them, nor for the next "no".
TEST_F(SchedulerCoreTest, ABlobThatIsGoneIsNoReasonToRest) {
  for (uint64_t i = 0; i < 10; ++i) {
    Submit(2 * i, FetchClass::kDemand, 10 << 20);
    const TransferPointer transfer = Start();
    ASSERT_NE(transfer, nullptr) << "after " << i;
    End(transfer, microseconds(0), Fail(ErrorCode::kNotFound, "HTTP 404"));
  }
}

TEST_F(SchedulerCoreTest, ServerThatWantsRestForAnHourIsAskedForWhatSomebodyWaitsFor) {
  Submit(9, FetchClass::kFill);
  End(Start(), milliseconds(1), Fail(ErrorCode::kNetwork, "HTTP 429", true));
  End(Start(), milliseconds(1), Fail(ErrorCode::kNetwork, "HTTP 429", true), std::chrono::hours(1));
  Submit(7, FetchClass::kFill);
  Submit(9, FetchClass::kDemand);
  const TimePoint failed = now_;
  TransferPointer asked;
  while (asked == nullptr) {
    ASSERT_LT(now_, failed + seconds(30)) << "half the time that a read has";
    now_ = std::max(core_.NextWake(now_), now_ + milliseconds(1));
    core_.OnTimer(now_, actions_);
    asked = Start();
  }
  EXPECT_EQ(FetchClass::kDemand, asked->fetch_class);
  EXPECT_GE(now_, failed + seconds(5)) << "not at once";
  Arrive(asked);
  End(asked, milliseconds(1));
  while (const TransferPointer other = Start()) {
    EXPECT_EQ(FetchClass::kDemand, other->fetch_class) << "fill has the time";
  }
}

TEST_F(SchedulerCoreTest, UnusedLinksAreForgottenAndUsedOnesAreNot) {
  Learn(milliseconds(1), 1e6);
  EXPECT_TRUE(core_.TakeUnusedLinks().empty()) << "the blob holds its source";
  blob_.reset();
  source_.reset();
  EXPECT_EQ(1U, core_.TakeUnusedLinks().size());
  EXPECT_EQ(0, core_.Statistics().bytes_per_second);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/link_shaper.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

const TimePoint kStart = TimePoint{} + std::chrono::hours(1);

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

TEST(LinkShaperTest, ByteArrivesAfterItsOwnTimeAndTheDelay) {
  LinkShaper link;
  link.Configure(milliseconds(15), 12.5e6);
  EXPECT_EQ(link.Send(12'500, kStart), kStart + milliseconds(1) + milliseconds(15));
}

TEST(LinkShaperTest, UnshapedLinkOnlyDelays) {
  LinkShaper link;
  link.Configure(microseconds(100), 0);
  EXPECT_EQ(link.Send(1 << 30, kStart), kStart + microseconds(100));
  EXPECT_TRUE(link.Takes(kStart));
}

// A sender that always has something, and a thread that wakes when the link takes more, or later.
struct Sent {
  uint64_t bytes = 0;
  TimePoint last;
};
Sent SendFor(LinkShaper& link, Duration time, Duration lateness) {
  Sent sent;
  TimePoint now = kStart;
  while (now < kStart + time) {
    while (link.Takes(now)) {
      sent.last = link.Send(link.quantum_bytes(), now);
      sent.bytes += link.quantum_bytes();
    }
    now = link.TakesAt() + lateness;
  }
  return sent;
}

TEST(LinkShaperTest, BackloggedLinkCarriesItsRateHoweverLateTheThreadComes) {
  for (const double rate : {1.25e6, 12.5e6, 125e6, 500e6}) {
    for (const Duration lateness :
         {Duration(0), Duration(microseconds(300)), Duration(milliseconds(4))}) {
      LinkShaper link;
      link.Configure(milliseconds(15), rate);
      const Sent sent = SendFor(link, std::chrono::seconds(5), lateness);
      const double seconds = Seconds(sent.last - milliseconds(15) - kStart);
      EXPECT_NEAR(static_cast<double>(sent.bytes) / seconds, rate, rate * 0.001)
          << rate << " " << lateness.count();
      EXPECT_NEAR(seconds, 5, 0.02);
    }
  }
}

TEST(LinkShaperTest, IdleTimeIsNotSavedUp) {
  LinkShaper link;
  link.Configure(milliseconds(0), 1e6);
  link.Send(1000, kStart);
  link.Idle();
  const TimePoint later = kStart + std::chrono::seconds(1);
  EXPECT_EQ(link.Send(1000, later), later + milliseconds(1));
}

TEST(LinkShaperTest, IsBookedLittleAhead) {
  LinkShaper link;
  link.Configure(milliseconds(75), 1.25e6);
  TimePoint last = kStart;
  while (link.Takes(kStart)) last = link.Send(link.quantum_bytes(), kStart);
  // Who comes now waits for at most what is booked and a packet's time.
  EXPECT_LE(last - milliseconds(75) - kStart, milliseconds(3));
}

}  // namespace
}  // namespace layerfs

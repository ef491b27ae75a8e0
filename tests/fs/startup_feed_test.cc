// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_feed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <memory>

#include "tests/fetch/fake_source.h"

namespace layerfs {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class StartupFeedTest : public testing::Test {
 protected:
  explicit StartupFeedTest(uint64_t size = 7 * kMiB + 12'345)
      : blob(PatternBytes(size, 1)), source(std::make_shared<FakeSource>(blob)) {
    feed = std::make_shared<StartupFeed>(source, Digest::Of(blob), blob.size(),
                                         std::chrono::milliseconds(20'000));
    feed->Start();
  }

  // The next `size` bytes are the blob's.
  void ExpectTaken(uint64_t size) {
    const auto bytes = feed->Take(size);
    ASSERT_TRUE(bytes.has_value()) << bytes.error().context;
    EXPECT_TRUE(std::ranges::equal(*bytes, ByteSpan(blob).subspan(taken, size))) << "at " << taken;
    taken += size;
  }

  const Bytes blob;
  const std::shared_ptr<FakeSource> source;
  std::shared_ptr<StartupFeed> feed;
  uint64_t taken = 0;
};

TEST_F(StartupFeedTest, GivesTheBytesInOrderHoweverTheyComeAndAreTaken) {
  uint64_t sent = 0;
  for (uint64_t step = 1; sent < blob.size(); ++step) {
    const uint64_t part = std::min<uint64_t>(blob.size() - sent, step * 40'009);
    source->Send(0, part);
    sent += part;
    EXPECT_EQ(feed->received(), sent);
    // Now little of what there is, now all of it.
    if (step % 3 == 0) ExpectTaken(sent - taken);
    if (step % 3 == 1 && sent - taken > 1000) ExpectTaken(997);
  }
  source->End(0);
  ExpectTaken(blob.size() - taken);
}

TEST_F(StartupFeedTest, HoldsAllOfItForWhoTakesItLater) {
  source->Serve(0);
  ExpectTaken(2 * kMiB);
  ExpectTaken(1);
  ExpectTaken(blob.size() - taken);
}

TEST_F(StartupFeedTest, GoesOnWhereATransferBrokeOff) {
  source->Send(0, 3 * kMiB);
  source->End(0, Fail(Error{ErrorCode::kNetwork, "connection reset", true}));
  auto taking = std::async(std::launch::async, [&] { ExpectTaken(blob.size()); });
  ASSERT_TRUE(source->WaitForRequests(2));
  EXPECT_EQ(source->range(1).offset, 3 * kMiB);
  EXPECT_EQ(source->range(1).size, blob.size() - 3 * kMiB);
  source->Serve(1);
  taking.get();
}

TEST_F(StartupFeedTest, WhoWaitsIsTurnedAwayByCancel) {
  auto taking = std::async(std::launch::async, [&] { return feed->Take(1); });
  feed->Cancel();
  EXPECT_EQ(taking.get().error().code, ErrorCode::kCancelled);
  EXPECT_FALSE(source->Send(0, 1));
  source->End(0, Fail(ErrorCode::kCancelled, "cancelled"));
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/status_server.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace layerfs {
namespace {

using std::chrono::milliseconds;

bool HappensWithin(milliseconds patience, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

class StatusServerTest : public testing::Test {
 protected:
  const std::string socket_ = testing::TempDir() + "status." + std::to_string(::getpid());
  std::atomic<int> chores_{0};
  StatusServer server_{[](std::string_view) -> std::optional<StatusPage> {
    return StatusPage{"text/plain", "page"};
  }};
};

TEST_F(StatusServerTest, ChoreIsDoneInTimeWhilePagesAreAskedForAllTheTime) {
  server_.SetChore([this]() -> std::optional<milliseconds> {
    ++chores_;
    return milliseconds(100);
  });
  ASSERT_TRUE(server_.Listen("unix:" + socket_).has_value());
  ASSERT_TRUE(server_.Start().has_value());
  EXPECT_TRUE(HappensWithin(milliseconds(10'000), [this] {
    EXPECT_TRUE(FetchStatusPage(socket_, "/").has_value());
    return chores_ >= 4;
  }));
}

TEST_F(StatusServerTest, ChoreThatNamesNoTimeIsDoneAgainWhenNudged) {
  server_.SetChore([this]() -> std::optional<milliseconds> {
    ++chores_;
    return std::nullopt;
  });
  ASSERT_TRUE(server_.Start().has_value());
  EXPECT_TRUE(HappensWithin(milliseconds(10'000), [this] { return chores_ == 1; }));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(chores_, 1);
  server_.Nudge();
  EXPECT_TRUE(HappensWithin(milliseconds(10'000), [this] { return chores_ == 2; }));
}

}  // namespace
}  // namespace layerfs

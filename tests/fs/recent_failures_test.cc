// SPDX-License-Identifier: Apache-2.0
#include "fs/recent_failures.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

constexpr InodeNumber kFile{7};
constexpr TimePoint kNow{std::chrono::hours(1)};
const Error kError{ErrorCode::kTimeout, "gave up", true};

TEST(RecentFailuresTest, RetryOfAPartOfTheFailedRangeIsKnown) {
  RecentFailures failures;
  failures.Note(kFile, 0, 131072, kError, kNow);
  const auto found = failures.Find(kFile, 126976, 4096,
                                   kNow + RecentFailures::kMemory - std::chrono::milliseconds(1));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->code, ErrorCode::kTimeout);
}

TEST(RecentFailuresTest, OtherFilesAndRangesAreTriedFor) {
  RecentFailures failures;
  failures.Note(kFile, 4096, 4096, kError, kNow);
  EXPECT_FALSE(failures.Find(kFile, 0, 4096, kNow).has_value());
  EXPECT_FALSE(failures.Find(kFile, 8192, 4096, kNow).has_value());
  EXPECT_FALSE(failures.Find(InodeNumber{8}, 4096, 4096, kNow).has_value());
}

TEST(RecentFailuresTest, NextReadTriesAgain) {
  RecentFailures failures;
  failures.Note(kFile, 0, 4096, kError, kNow);
  EXPECT_FALSE(failures.Find(kFile, 0, 4096, kNow + RecentFailures::kMemory).has_value());
}

}  // namespace
}  // namespace layerfs

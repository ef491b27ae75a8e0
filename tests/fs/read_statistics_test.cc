// SPDX-License-Identifier: Apache-2.0
#include "fs/read_statistics.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

ReadReport Waited(uint32_t inode, microseconds took) {
  ReadReport report;
  report.inode = InodeNumber{inode};
  report.size = 100;
  report.waited = true;
  report.took = took;
  return report;
}

TEST(ReadStatisticsTest, CachedReadsAreCountedAndDoNotStall) {
  ReadStatistics statistics;
  ReadReport cached;
  cached.size = 4096;
  statistics.Note(cached);
  const auto taken = statistics.Take();
  EXPECT_EQ(taken.reads, 1U);
  EXPECT_EQ(taken.bytes, 4096U);
  EXPECT_EQ(taken.waited, 0U);
  EXPECT_TRUE(taken.stalls.empty());
}

TEST(ReadStatisticsTest, WaitsFallIntoBucketsByTheirUpperBound) {
  ReadStatistics statistics;
  statistics.Note(Waited(1, milliseconds(1)));
  statistics.Note(Waited(1, milliseconds(1) + microseconds(1)));
  statistics.Note(Waited(1, std::chrono::hours(1)));
  const auto taken = statistics.Take();
  EXPECT_EQ(taken.waits_by_bound[0], 1U);
  EXPECT_EQ(taken.waits_by_bound[1], 1U);
  EXPECT_EQ(taken.waits_by_bound[ReadStatistics::kBuckets - 1], 1U);
  EXPECT_EQ(taken.wait_longest, std::chrono::hours(1));
}

TEST(ReadStatisticsTest, FileThatWasWaitedForLongestComesFirst) {
  ReadStatistics statistics;
  for (uint32_t inode = 1; inode <= 5000; ++inode) {
    statistics.Note(Waited(inode, microseconds(inode)));
  }
  statistics.Note(Waited(7, milliseconds(500)));
  const auto taken = statistics.Take();
  ASSERT_FALSE(taken.stalls.empty());
  EXPECT_EQ(taken.stalls[0].inode, InodeNumber{7});
  EXPECT_LE(taken.stalls.size(), 20U);
}

TEST(ReadStatisticsTest, FailedReadGivesNoBytes) {
  ReadStatistics statistics;
  const Error error{ErrorCode::kTimeout, ""};
  ReadReport failed = Waited(1, milliseconds(1));
  failed.error = &error;
  statistics.Note(failed);
  EXPECT_EQ(statistics.Take().errors, 1U);
  EXPECT_EQ(statistics.Take().bytes, 0U);
}

}  // namespace
}  // namespace layerfs

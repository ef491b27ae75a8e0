// SPDX-License-Identifier: Apache-2.0
// What is fetched ahead of readers that go on in order, and of those that do not.
#include "fs/read_streams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace layerfs {
namespace {

constexpr uint64_t kLayer = 3;
constexpr uint64_t kRead = 128 * 1024;
constexpr uint64_t kSmall = 10'000;
constexpr uint64_t kSmallStep = 11'264;  // with the header and the padding

class ReadStreamsTest : public testing::Test {
 protected:
  // A read inside a file that has all of the space.
  StreamRun Read(uint64_t begin, uint64_t size = kRead) {
    return Count(streams_.OnRead({kLayer, begin, begin + size, 0, uint64_t{1} << 40}));
  }
  // The small file at place `i` of the layer, in one read.
  StreamRun ReadSmall(uint64_t i) {
    const uint64_t begin = (i + 1) * kSmallStep;
    return Count(streams_.OnRead({kLayer, begin, begin + kSmall, begin, begin + kSmall}));
  }
  StreamRun Count(StreamRun run) {
    if (!run.empty()) {
      asked_ += run.end - run.begin;
      asked_until_ = std::max(asked_until_, run.end);
    }
    return run;
  }
  ReadStreams streams_;
  uint64_t asked_ = 0;
  uint64_t asked_until_ = 0;
};

TEST_F(ReadStreamsTest, WindowGrowsAheadOfAReaderInOrder) {
  EXPECT_TRUE(Read(0).empty()) << "one read is no stream";
  const StreamRun second = Read(kRead);
  EXPECT_EQ(2 * kRead, second.begin);
  EXPECT_EQ(3 * kRead, second.end);
  for (uint64_t i = 2; i < 1000; ++i) {
    Read(i * kRead);
    EXPECT_GE(asked_until_, (i + 1) * kRead + std::min<uint64_t>((i - 1) * kRead, 2 << 20)) << i;
    EXPECT_LE(asked_until_, (i + 1) * kRead + (4 << 20)) << i;
  }
  EXPECT_EQ(asked_, asked_until_ - 2 * kRead) << "nothing is asked for twice";
}

TEST_F(ReadStreamsTest, WindowFollowsTheLink) {
  streams_.SetLinkWindow(uint64_t{2} << 20);
  for (uint64_t i = 0; i < 1000; ++i) Read(i * kRead);
  EXPECT_GE(asked_until_, 1000 * kRead + (8 << 20));
  EXPECT_LE(asked_until_, 1000 * kRead + (16 << 20));
}

TEST_F(ReadStreamsTest, ReaderThatBeginsInTheMiddleHasToShowMore) {
  const uint64_t begin = 100 * kRead;
  EXPECT_TRUE(Read(begin).empty());
  EXPECT_TRUE(Read(begin + kRead).empty());
  EXPECT_FALSE(Read(begin + 2 * kRead).empty());
}

TEST_F(ReadStreamsTest, PagesOfAMappedProgramAreAStreamWithGaps) {
  for (uint64_t i = 0; i < 8; ++i) Read(i * (kRead + 32'768));
  EXPECT_GT(asked_until_, 8 * (kRead + 32'768));
}

TEST_F(ReadStreamsTest, NothingBehindAFileIsAskedForBeforeTwoHaveFollowedIt) {
  const uint64_t end = 3 * kRead;
  for (uint64_t i = 0; i < 3; ++i) {
    Count(streams_.OnRead({kLayer, i * kRead, (i + 1) * kRead, 0, end}));
  }
  EXPECT_LE(asked_until_, end);
  EXPECT_TRUE(ReadSmall(0).empty());
  EXPECT_TRUE(ReadSmall(1).empty());
  EXPECT_FALSE(ReadSmall(2).empty());
}

TEST_F(ReadStreamsTest, SmallFilesInOrderAreAheadOfTheirReader) {
  for (uint64_t i = 0; i < 500; ++i) {
    ReadSmall(i);
    if (i < 20) continue;
    EXPECT_GE(asked_until_, std::min<uint64_t>(3 * i / 2, i + 180) * kSmallStep) << i;
  }
}

TEST_F(ReadStreamsTest, FilesThatAreReadTwiceOrLeftOutDoNotEndAStream) {
  for (uint64_t i = 0; i < 100; i += 3) {
    ReadSmall(i);
    ReadSmall(i);
  }
  EXPECT_GT(asked_until_, 150 * kSmallStep);
}

TEST_F(ReadStreamsTest, SixteenReadersDoNotDisturbEachOther) {
  for (uint64_t i = 0; i < 100; ++i) {
    for (uint64_t reader = 0; reader < 16; ++reader) {
      const uint64_t file = reader << 30;
      Count(streams_.OnRead(
          {kLayer, file + i * kRead, file + (i + 1) * kRead, file, file + (1 << 30)}));
    }
  }
  EXPECT_GE(asked_, 16 * 100 * kRead);
}

// What is asked for in vain costs the link: a small part of what random readers ask for themselves.
TEST_F(ReadStreamsTest, RandomReadersAreLeftAlone) {
  std::mt19937_64 dice(7);
  for (int i = 0; i < 10'000; ++i) Read(dice() % (uint64_t{1} << 30) / 4096 * 4096, 4096);
  EXPECT_LE(asked_, 10'000 * 4096 / 20);
  asked_ = 0;
  for (int i = 0; i < 10'000; ++i) ReadSmall(dice() % 100'000);
  EXPECT_LE(asked_, 10'000 * kSmall / 20);
}

TEST_F(ReadStreamsTest, OtherLayersAreOtherStreams) {
  for (uint64_t i = 0; i < 20; ++i) {
    const uint64_t begin = i * kSmallStep;
    EXPECT_TRUE(streams_.OnRead({i, begin, begin + kSmall, begin, begin + kSmall}).empty());
  }
}

}  // namespace
}  // namespace layerfs

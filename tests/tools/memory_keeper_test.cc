// SPDX-License-Identifier: Apache-2.0
#include "tools/memory_keeper.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

class MemoryKeeperTest : public testing::Test {
 protected:
  uint64_t activity_ = 0;
  int released_ = 0;
  MemoryKeeper keeper_{[this] { return activity_; }, [this] { ++released_; }};
};

TEST_F(MemoryKeeperTest, WaitsWhileSomethingGoesOn) {
  for (int i = 0; i < 3; ++i) {
    ++activity_;
    EXPECT_TRUE(keeper_.Check().has_value());
  }
  EXPECT_EQ(released_, 0);
}

TEST_F(MemoryKeeperTest, ReleasesOnceWhenNothingDoesAndSleeps) {
  EXPECT_TRUE(keeper_.Check().has_value());
  EXPECT_FALSE(keeper_.Check().has_value());
  EXPECT_EQ(released_, 1);
  EXPECT_FALSE(keeper_.Check().has_value());
  EXPECT_EQ(released_, 1);
}

TEST_F(MemoryKeeperTest, IsWokenOnceByWhatBegins) {
  while (keeper_.Check().has_value()) {
  }
  EXPECT_TRUE(keeper_.Note());
  EXPECT_FALSE(keeper_.Note());
  EXPECT_TRUE(keeper_.Check().has_value());
  EXPECT_FALSE(keeper_.Check().has_value());
  EXPECT_EQ(released_, 2);
}

}  // namespace
}  // namespace layerfs

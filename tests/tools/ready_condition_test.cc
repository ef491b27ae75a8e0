// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/ready_condition.h"

#include <gtest/gtest.h>

#include <string>

namespace layerfs {
namespace {

TEST(ReadyCondition, ALineMatchesWhateverItIsMadeOf) {
  EXPECT_TRUE(Matches("^READY$", "READY"));
  EXPECT_TRUE(Matches("^READY$", "READY\r")) << "a terminal's";
  EXPECT_FALSE(Matches("^READY$", "READY "));
  EXPECT_FALSE(Matches("^READY$", "\rREADY"));
  EXPECT_TRUE(Matches("READY", std::string("x\0READY", 7)));
  EXPECT_TRUE(Matches("lis(ten|ning)", "listening"));
  EXPECT_FALSE(Matches("(", "("));
  EXPECT_FALSE(Matches("x", ""));
}

}  // namespace
}  // namespace layerfs

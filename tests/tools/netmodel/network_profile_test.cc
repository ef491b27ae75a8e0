// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/network_profile.h"

#include <gtest/gtest.h>

#include "tools/netmodel/fault_plan.h"

namespace layerfs {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

struct GoodProfile {
  const char* text;
  Duration round_trip;
  double bytes_per_second;
  size_t faults;
};

TEST(NetworkProfileTest, ProfilesAreReadAsTheyAreWritten) {
  const GoodProfile rows[] = {
      {"lan", microseconds(200), 0, 0},
      {"cloud", milliseconds(2), 125e6, 0},
      {"wan", milliseconds(30), 12.5e6, 0},
      {"bad", milliseconds(150), 1.25e6, 1},
      {"30ms,100Mbit", milliseconds(30), 12.5e6, 0},
      {"500us,2.5Gbit", microseconds(500), 312.5e6, 0},
      {"1s,64kbit", milliseconds(1000), 8e3, 0},
      {"0ms,unshaped", milliseconds(0), 0, 0},
      {"0ms,0", milliseconds(0), 0, 0},
      {"bad,break:2%,stall:0.5%:5s", milliseconds(150), 1.25e6, 3},
  };
  for (const GoodProfile& row : rows) {
    SCOPED_TRACE(row.text);
    const auto profile = ParseNetworkProfile(row.text);
    ASSERT_TRUE(profile.has_value()) << profile.error().context;
    EXPECT_EQ(profile->name, row.text);
    EXPECT_EQ(profile->round_trip, row.round_trip);
    EXPECT_DOUBLE_EQ(profile->bytes_per_second, row.bytes_per_second);
    EXPECT_EQ(profile->faults.size(), row.faults);
  }
}

TEST(NetworkProfileTest, WhatIsNotUnderstoodIsNamed) {
  for (const char* text :
       {"", "mars", "30ms", "30,100Mbit", "30ms,100", "30ms,100MB", "-1ms,1Gbit", "2h,1Gbit",
        "1e3s,1Gbit", "nanms,1Gbit", "wan,explode:1%", "wan,break", "wan,break:1", "wan,break:101%",
        "wan,break@0", "wan,break@x", "wan,break@1+y", "wan,stall@1:soon", "wan,,"}) {
    SCOPED_TRACE(text);
    const auto profile = ParseNetworkProfile(text);
    ASSERT_FALSE(profile.has_value());
    EXPECT_EQ(profile.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(profile.error().context.find("is not understood"), std::string::npos);
  }
}

TEST(FaultPlanTest, ScriptedFaultHitsItsExchangeAlone) {
  FaultPlan plan(1);
  plan.SetRules(ParseNetworkProfile("wan,truncate@3+4096,stall@4:250ms")->faults);
  EXPECT_FALSE(plan.NextExchange().has_value());
  EXPECT_FALSE(plan.NextExchange().has_value());
  const auto third = plan.NextExchange();
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->kind, FaultRule::Kind::kTruncate);
  EXPECT_EQ(third->after_bytes, 4096U);
  const auto fourth = plan.NextExchange();
  ASSERT_TRUE(fourth.has_value());
  EXPECT_EQ(fourth->kind, FaultRule::Kind::kStall);
  EXPECT_EQ(fourth->pause, milliseconds(250));
  EXPECT_FALSE(plan.NextExchange().has_value());
}

TEST(FaultPlanTest, ShareIsKeptAndTheSeedDecidesWhichOnes) {
  const auto hits = [](uint64_t seed) {
    FaultPlan plan(seed);
    plan.SetRules(ParseNetworkProfile("bad")->faults);
    std::vector<int> found;
    for (int i = 0; i < 20'000; ++i) {
      if (plan.NextExchange().has_value()) found.push_back(i);
    }
    return found;
  };
  EXPECT_NEAR(static_cast<double>(hits(1).size()), 200, 60);
  EXPECT_EQ(hits(1), hits(1));
  EXPECT_NE(hits(1), hits(2));
}

}  // namespace
}  // namespace layerfs

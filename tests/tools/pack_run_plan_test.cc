// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/pack_run_plan.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerfs {
namespace {

constexpr InodeNumber kFirst{7};
constexpr InodeNumber kSecond{8};
constexpr uint64_t kFilePages = 10'000;
constexpr uint64_t kAnyNumber = 1 << 20;

std::optional<PackFile> FindFile(const std::string& path) {
  if (path == "/first") return PackFile{kFirst, kFilePages * kPackPageBytes};
  if (path == "/second") return PackFile{kSecond, kFilePages * kPackPageBytes - 1};
  return std::nullopt;
}

struct PlanCase {
  std::string name;
  std::vector<TraceEntry> entries;
  uint64_t max_pages = kAnyNumber;
  std::vector<PackRun> packed;
  std::vector<PackRun> bare;
  uint32_t gap_pages = 0;
  uint64_t missing_paths = 0;
};

class PackRunPlanTest : public testing::TestWithParam<PlanCase> {};

TEST_P(PackRunPlanTest, Plans) {
  const PlanCase& wanted = GetParam();
  const PackRunPlan plan = PlanPackRuns(Trace{wanted.entries}, wanted.max_pages, FindFile);
  EXPECT_EQ(plan.packed, wanted.packed);
  EXPECT_EQ(plan.bare, wanted.bare);
  EXPECT_EQ(plan.gap_pages, wanted.gap_pages);
  EXPECT_EQ(plan.missing_paths, wanted.missing_paths);
  uint64_t pages = 0;
  for (const PackRun& run : plan.packed) pages += run.pages;
  EXPECT_EQ(plan.page_count, pages);
}

INSTANTIATE_TEST_SUITE_P(
    Table, PackRunPlanTest,
    testing::Values(
        PlanCase{.name = "InOrderAndNoPageTwice",
                 .entries = {{"/second", 5, 2}, {"/first", 0, 3}, {"/second", 4, 4}},
                 .packed = {{kSecond, 5, 2}, {kFirst, 0, 3}, {kSecond, 4, 1}, {kSecond, 7, 1}}},
        PlanCase{.name = "RunsThatFollowAreOne",
                 .entries = {{"/first", 5, 2}, {"/first", 7, 3}},
                 .packed = {{kFirst, 5, 5}}},
        PlanCase{.name = "FileEndsEarlier",
                 .entries = {{"/second", 9'998, 5}, {"/first", 10'000, 1}},
                 .packed = {{kSecond, 9'998, 2}}},
        PlanCase{.name = "PathsThatAreNotThereCountOnce",
                 .entries = {{"/none", 0, 1}, {"/first", 0, 1}, {"/none", 5, 1}, {"/other", 0, 1}},
                 .packed = {{kFirst, 0, 1}},
                 .missing_paths = 2},
        PlanCase{.name = "WhatIsTooMuchIsOnlyNamed",
                 .entries = {{"/first", 0, 4}, {"/second", 0, 3}},
                 .max_pages = 5,
                 .packed = {{kFirst, 0, 4}, {kSecond, 0, 1}},
                 .bare = {{kSecond, 1, 2}}},
        PlanCase{.name = "GapComesBehindAll",
                 .entries = {{"/first", 0, 300}, {"/first", 301, 99}, {"/second", 0, 1}},
                 .packed = {{kFirst, 0, 300}, {kFirst, 301, 99}, {kSecond, 0, 1}, {kFirst, 300, 1}},
                 .gap_pages = 1},
        PlanCase{.name = "GapOfFourPagesMayCome",
                 .entries = {{"/first", 0, 800}, {"/first", 804, 1}},
                 .packed = {{kFirst, 0, 800}, {kFirst, 804, 1}, {kFirst, 800, 4}},
                 .gap_pages = 4},
        PlanCase{.name = "GapOfFiveDoesNot",
                 .entries = {{"/first", 0, 2'000}, {"/first", 2'005, 1}},
                 .packed = {{kFirst, 0, 2'000}, {kFirst, 2'005, 1}}},
        PlanCase{.name = "TooFewPagesAllowNoGap",
                 .entries = {{"/first", 0, 198}, {"/first", 199, 1}},
                 .packed = {{kFirst, 0, 198}, {kFirst, 199, 1}}},
        PlanCase{.name = "TheShortestGapComesFirstAndTheBudgetEndsThem",
                 .entries = {{"/first", 0, 200},
                             {"/first", 202, 2},
                             {"/second", 0, 200},
                             {"/second", 201, 2}},
                 .packed = {{kFirst, 0, 200},
                            {kFirst, 202, 2},
                            {kSecond, 0, 200},
                            {kSecond, 201, 2},
                            {kSecond, 200, 1}},
                 .gap_pages = 1},
        PlanCase{.name = "OfGapsAlikeTheOneInTheLongestRun",
                 .entries = {{"/first", 0, 100},
                             {"/first", 101, 9},
                             {"/second", 0, 100},
                             {"/second", 101, 10}},
                 .packed = {{kFirst, 0, 100},
                            {kFirst, 101, 9},
                            {kSecond, 0, 100},
                            {kSecond, 101, 10},
                            {kSecond, 100, 1}},
                 .gap_pages = 1},
        PlanCase{.name = "FullPackHasNoRoomForAGap",
                 .entries = {{"/first", 0, 300}, {"/first", 301, 100}},
                 .max_pages = 400,
                 .packed = {{kFirst, 0, 300}, {kFirst, 301, 100}}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/quiet_watch.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerfs {
namespace {

struct Look {
  int at_ms;
  uint64_t uses;
  bool waiting;
};

struct QuietCase {
  std::string name;
  std::vector<Look> looks;  // none but the last may find it quiet
  bool quiet;
};

class QuietWatchTest : public testing::TestWithParam<QuietCase> {};

TEST_P(QuietWatchTest, LastLookSays) {
  constexpr std::chrono::milliseconds kQuiet{500};
  constexpr std::chrono::milliseconds kLongestWait{2000};
  constexpr uint64_t kUses = 7;
  const TimePoint began{std::chrono::hours(1)};
  QuietWatch watch({kQuiet, kLongestWait}, began, kUses);
  const auto& looks = GetParam().looks;
  for (size_t i = 0; i < looks.size(); ++i) {
    const TimePoint at = began + std::chrono::milliseconds(looks[i].at_ms);
    const bool quiet = watch.Look(at, kUses + looks[i].uses, looks[i].waiting);
    EXPECT_EQ(quiet, i + 1 == looks.size() && GetParam().quiet) << "look " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, QuietWatchTest,
    testing::Values(
        QuietCase{"NeverUsed", {{499, 0, false}, {500, 0, false}}, true},
        QuietCase{"TooEarly", {{0, 0, false}, {499, 0, false}}, false},
        QuietCase{"UsedMeanwhile", {{400, 1, false}, {899, 1, false}}, false},
        QuietCase{"QuietAfterTheLastUse", {{400, 1, false}, {900, 1, false}}, true},
        QuietCase{"UseSeenLate", {{1000, 3, false}, {1499, 3, false}, {1500, 3, false}}, true},
        QuietCase{"WaitIsAUse", {{600, 0, true}, {1099, 0, false}, {1100, 0, false}}, true},
        QuietCase{"AlwaysBusy",
                  {{400, 1, false},
                   {800, 2, false},
                   {1200, 3, false},
                   {1600, 4, false},
                   {1999, 5, false}},
                  false},
        QuietCase{"BusyForLong", {{400, 1, false}, {1999, 2, true}, {2000, 3, true}}, true}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

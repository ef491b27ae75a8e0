// SPDX-License-Identifier: Apache-2.0
#include "fs/recent_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerfs {
namespace {

struct Case {
  std::string name;
  std::vector<unsigned> reads;
  std::vector<unsigned> kept;  // of at most three
};

class RecentFilesTest : public testing::TestWithParam<Case> {};

TEST_P(RecentFilesTest, KeepsTheLastOnesInOrder) {
  RecentFiles files(3);
  for (const unsigned read : GetParam().reads) files.Note(InodeNumber{read});
  std::vector<unsigned> kept;
  for (const InodeNumber file : files.Take()) kept.push_back(ToUint(file));
  EXPECT_EQ(kept, GetParam().kept);
  EXPECT_THAT(files.Take(), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    , RecentFilesTest,
    testing::Values(Case{"none", {}, {}}, Case{"fewer", {1, 2}, {1, 2}},
                    Case{"the_oldest_goes", {1, 2, 3, 4}, {2, 3, 4}},
                    Case{"one_is_read_on", {1, 1, 1, 1, 2}, {1, 2}},
                    Case{"one_comes_again", {1, 2, 3, 1}, {2, 3, 1}},
                    Case{"one_that_came_again_outlives_others", {1, 2, 3, 1, 4}, {3, 1, 4}},
                    Case{"two_in_turn_push_nothing_out", {9, 1, 2, 1, 2, 1, 2}, {9, 1, 2}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/id_map.h"

#include <gtest/gtest.h>

#include <string>

namespace layerfs {
namespace {

TEST(IdMapTest, WithoutRangesEverybodyIsHimself) {
  const IdMap map;
  for (const uint32_t id : {0U, 1000U, UINT32_MAX}) {
    EXPECT_EQ(map.ToShown(id), id);
    EXPECT_EQ(map.ToDisk(id), id);
  }
}

struct IdCase {
  std::string name;
  uint32_t on_disk;
  uint32_t shown;
};

class IdMapCase : public testing::TestWithParam<IdCase> {
 protected:
  // As `uidmapping=0:1000:1:1:100000:65536` of a rootless container gives it.
  const IdMap map_{{{0, 1000, 1}, {1, 100000, 65536}, {4294967290U, 10, 5}}};
};

TEST_P(IdMapCase, IsMappedThereAndBack) {
  EXPECT_EQ(map_.ToShown(GetParam().on_disk), GetParam().shown);
  EXPECT_EQ(map_.ToDisk(GetParam().shown), GetParam().on_disk);
}

INSTANTIATE_TEST_SUITE_P(Ids, IdMapCase,
                         testing::Values(IdCase{"Root", 0, 1000}, IdCase{"FirstOfRange", 1, 100000},
                                         IdCase{"LastOfRange", 65536, 165535},
                                         IdCase{"RangeAtTheTop", 4294967294U, 14}),
                         [](const auto& info) { return info.param.name; });

TEST(IdMapTest, WhatIsNotMappedIsNobody) {
  const IdMap map({{0, 1000, 1}, {1, 100000, 65536}});
  EXPECT_EQ(map.ToShown(65537), IdMap::kOverflowId);
  EXPECT_EQ(map.ToDisk(0), IdMap::kOverflowId);
  EXPECT_EQ(map.ToDisk(999), IdMap::kOverflowId);
  EXPECT_EQ(map.ToDisk(165536), IdMap::kOverflowId);
}

// chown(2)'s "leave it".
TEST(IdMapTest, ARangeDoesNotReachBeyondTheLargestId) {
  const IdMap map({{100, 4294967000U, 1000}});
  EXPECT_EQ(map.ToDisk(4294967000U), 100U);
  EXPECT_EQ(map.ToShown(99), IdMap::kOverflowId);
}

}  // namespace
}  // namespace layerfs

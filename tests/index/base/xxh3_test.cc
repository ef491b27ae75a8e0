// SPDX-License-Identifier: Apache-2.0
#include "index/base/xxh3.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

// Stored in every index: it must be XXH3-64 with seed 0 on every machine. The values are xxhsum's.
TEST(Xxh3, IsTheOneOfTheSpecification) {
  EXPECT_EQ(Xxh3({}), 0x2d06800538d394c2U);
  EXPECT_EQ(Xxh3(AsBytes("a")), 0xe6c632b61e964e1fU);
  EXPECT_EQ(Xxh3(AsBytes("abc")), 0x78af5f94892f3950U);
}

}  // namespace
}  // namespace layerfs

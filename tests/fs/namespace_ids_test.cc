// SPDX-License-Identifier: Apache-2.0
#include "fs/namespace_ids.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "index/base/bytes.h"

namespace layerfs {
namespace {

struct Entry {
  uint16_t tag;
  uint32_t id;
};
constexpr uint32_t kNobody = 0xFFFFFFFF;
constexpr uint16_t kOwner = 1, kUser = 2, kOwningGroup = 4, kGroup = 8, kMask = 16, kOther = 32;

std::string Acl(const std::vector<Entry>& entries) {
  ByteWriter writer;
  writer.Write(uint32_t{2});
  for (const Entry& entry : entries) {
    writer.Write(entry.tag);
    writer.Write(uint16_t{7});
    writer.Write(entry.id);
  }
  return std::string(AsText(writer.bytes()));
}

TEST(NamespaceIdsTest, TheMachinesOwnHasAll) {
  const std::string map = "         0          0 4294967295\n";
  for (const NamespaceIds& ids : {NamespaceIds(), NamespaceIds(map, map)}) {
    EXPECT_TRUE(ids.IsTheMachines());
    EXPECT_TRUE(ids.HasUser(0));
    EXPECT_TRUE(ids.HasGroup(4294967294));
    EXPECT_EQ(ids.UserOutside(7), 7U);
  }
}

TEST(NamespaceIdsTest, OthersHaveWhatIsMapped) {
  const NamespaceIds ids("0 1000 1\n1 100000 65536\n", "0 1001 1\n");
  EXPECT_FALSE(ids.IsTheMachines());
  EXPECT_TRUE(ids.HasUser(0));
  EXPECT_TRUE(ids.HasUser(65536));
  EXPECT_FALSE(ids.HasUser(65537));
  EXPECT_FALSE(ids.HasGroup(1));
  EXPECT_FALSE(ids.HasUser(kNobody));
  EXPECT_EQ(ids.UserOutside(0), 1000U);
  EXPECT_EQ(ids.UserOutside(33), 100032U);
  EXPECT_EQ(ids.UserOutside(65537), std::nullopt);
}

TEST(NamespaceIdsTest, AllIdsThatAreShiftedAreNotTheMachines) {
  EXPECT_FALSE(NamespaceIds("0 1 4294967295\n", "0 0 4294967295\n").IsTheMachines());
}

TEST(NamespaceIdsTest, ANamespaceWithoutAMapHasNobody) {
  EXPECT_FALSE(NamespaceIds("", "").HasUser(0));
}

TEST(NamespaceIdsTest, AnAclLosesTheEntriesOfStrangersOnly) {
  const NamespaceIds ids("0 1000 2\n", "0 1000 6\n");
  const std::string acl = Acl({{kOwner, kNobody},
                               {kUser, 1},
                               {kUser, 2},
                               {kOwningGroup, kNobody},
                               {kGroup, 5},
                               {kGroup, kNobody},
                               {kMask, kNobody},
                               {kOther, kNobody}});
  EXPECT_EQ(ids.AclHere(acl), Acl({{kOwner, kNobody},
                                   {kUser, 1},
                                   {kOwningGroup, kNobody},
                                   {kGroup, 5},
                                   {kMask, kNobody},
                                   {kOther, kNobody}}));
  EXPECT_EQ(NamespaceIds().AclHere(acl), acl);
}

TEST(NamespaceIdsTest, WhatIsNoAclStaysAsItIs) {
  const NamespaceIds ids("0 1000 1\n", "0 1000 1\n");
  const std::string cut = Acl({{kUser, 5}}).substr(0, 9);
  const std::string other_version = std::string("\3\0\0\0", 4) + Acl({{kUser, 5}}).substr(4);
  for (const std::string& value : {std::string(), std::string("x"), cut, other_version}) {
    EXPECT_EQ(ids.AclHere(value), value);
  }
}

}  // namespace
}  // namespace layerfs

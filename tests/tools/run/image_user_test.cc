// SPDX-License-Identifier: Apache-2.0
#include "tools/run/image_user.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

constexpr char kPasswd[] =
    "root:x:0:0:root:/root:/bin/bash\n"
    "# a comment:x:7:7::/:\n"
    "\n"
    "broken\n"
    "nouid:x::5:::\n"
    "minus:x:-1:5::/m:\n"
    "huge:x:99999999999999999999:5::/h:\n"
    "app:x:1000:1001:App:/home/app:/bin/sh\n"
    "app:x:2000:2001:Second:/home/second:/bin/sh\n"
    "42:x:4242:4243:A name of digits:/home/digits:/bin/sh\n"
    "short:x:1005:1006";
constexpr char kGroup[] =
    "root:x:0:\n"
    "app:x:1001:\n"
    "audio:x:29:other,app\n"
    "video:x:44:app,other\n"
    "twice:x:29:app\n"
    "broken:x:\n"
    "nogid:x:zz:app\n"
    "appendix:x:55:application\n";

struct Case {
  const char* name;
  const char* text;
  ImageUser expected;
};

class Resolves : public testing::TestWithParam<Case> {};

TEST_P(Resolves, ToIds) {
  const auto user = ResolveUser(GetParam().text, kPasswd, kGroup);
  ASSERT_TRUE(user.has_value()) << user.error().context;
  EXPECT_EQ(user->uid, GetParam().expected.uid);
  EXPECT_EQ(user->gid, GetParam().expected.gid);
  EXPECT_EQ(user->groups, GetParam().expected.groups);
  EXPECT_EQ(user->home, GetParam().expected.home);
}

INSTANTIATE_TEST_SUITE_P(
    Users, Resolves,
    testing::Values(Case{"EmptyIsRoot", "", {0, 0, {}, "/root"}},
                    Case{"ByName", "app", {1000, 1001, {29, 44}, "/home/app"}},
                    Case{"ByNumberWithItsEntry", "1000", {1000, 1001, {29, 44}, "/home/app"}},
                    Case{"NumberWithoutEntry", "12345", {12345, 0, {}, "/"}},
                    Case{"NameOfDigitsGoesBeforeTheNumber", "42", {4242, 4243, {}, "/home/digits"}},
                    Case{"GroupByName", "app:audio", {1000, 29, {}, "/home/app"}},
                    Case{"GroupByNumber", "app:7", {1000, 7, {}, "/home/app"}},
                    Case{"OnlyAGroup", ":video", {0, 44, {}, "/root"}},
                    Case{"EmptyGroupIsNone", "app:", {1000, 1001, {29, 44}, "/home/app"}},
                    Case{"EntryWithoutHome", "short", {1005, 1006, {}, "/"}},
                    Case{"LargestId", "2147483647", {2147483647, 0, {}, "/"}}),
    [](const auto& info) { return info.param.name; });

struct BadCase {
  const char* name;
  const char* text;
  ErrorCode code;
};

class Refuses : public testing::TestWithParam<BadCase> {};

TEST_P(Refuses, WithTheWord) {
  const auto user = ResolveUser(GetParam().text, kPasswd, kGroup);
  ASSERT_FALSE(user.has_value());
  EXPECT_EQ(user.error().code, GetParam().code) << user.error().context;
}

INSTANTIATE_TEST_SUITE_P(
    Users, Refuses,
    testing::Values(BadCase{"UnknownUser", "nobody", ErrorCode::kNotFound},
                    BadCase{"UnknownGroup", "app:nogroup", ErrorCode::kNotFound},
                    BadCase{"EntryWithANegativeId", "minus", ErrorCode::kNotFound},
                    BadCase{"EntryWithAHugeId", "huge", ErrorCode::kNotFound},
                    BadCase{"EntryWithoutId", "nouid", ErrorCode::kNotFound},
                    BadCase{"NegativeNumber", "-1", ErrorCode::kNotFound},
                    BadCase{"TooLargeNumber", "2147483648", ErrorCode::kInvalidArgument},
                    BadCase{"TooLargeGroup", "0:4294967295", ErrorCode::kInvalidArgument}),
    [](const auto& info) { return info.param.name; });

TEST(ResolveUser, NeedsNoFilesForRootAndNumbers) {
  const auto root = ResolveUser("", "", "");
  ASSERT_TRUE(root.has_value());
  EXPECT_EQ(*root, (ImageUser{0, 0, {}, "/"}));
  EXPECT_EQ(ResolveUser("5:6", "", "")->gid, 6U);
}

TEST(ResolveUser, RefusesMoreGroupsThanLinuxHas) {
  std::string group;
  for (int i = 0; i <= 65536; ++i) group += "g:x:" + std::to_string(i) + ":app\n";
  const auto user = ResolveUser("app", kPasswd, group);
  ASSERT_FALSE(user.has_value());
  EXPECT_EQ(user.error().code, ErrorCode::kTooLarge);
}

TEST(ResolveUser, PassesOverBinaryRubbish) {
  std::string rubbish;
  for (int i = 0; i < 4096; ++i) rubbish.push_back(static_cast<char>(i * 7));
  EXPECT_FALSE(ResolveUser("app", rubbish, rubbish).has_value());
  EXPECT_TRUE(ResolveUser("app", rubbish + "\n" + kPasswd, rubbish).has_value());
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fetch/auth_challenge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace layerfs {
namespace {

TEST(AuthChallenge, BearerParametersAreUnquoted) {
  const auto challenges =
      ParseChallenges(R"(Bearer realm="https://auth.example/token",service="registry.example",)"
                      R"(scope="repository:a/b:pull,push",error="a \"quoted\" word")");
  ASSERT_EQ(challenges.size(), 1U);
  EXPECT_EQ(challenges[0].scheme, "bearer");
  EXPECT_EQ(challenges[0].Parameter("realm"), "https://auth.example/token");
  EXPECT_EQ(challenges[0].Parameter("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(challenges[0].Parameter("error"), "a \"quoted\" word");
  EXPECT_EQ(challenges[0].Parameter("missing"), "");
}

TEST(AuthChallenge, SeveralChallengesInOneFieldAreToldApart) {
  const auto challenges =
      ParseChallenges(R"(Negotiate, BASIC realm="x, y" , Bearer Realm = "r" , service=plain)");
  ASSERT_EQ(challenges.size(), 3U);
  EXPECT_EQ(challenges[0].scheme, "negotiate");
  EXPECT_EQ(challenges[1].scheme, "basic");
  EXPECT_EQ(challenges[1].Parameter("realm"), "x, y");
  EXPECT_EQ(challenges[2].Parameter("realm"), "r");
  EXPECT_EQ(challenges[2].Parameter("service"), "plain");
}

TEST(AuthChallenge, UnquotedUrlsAreTaken) {
  const auto challenges = ParseChallenges("Bearer realm=https://auth.example/token,service=s");
  ASSERT_EQ(challenges.size(), 1U);
  EXPECT_EQ(challenges[0].Parameter("realm"), "https://auth.example/token");
  EXPECT_EQ(challenges[0].Parameter("service"), "s");
}

TEST(AuthChallenge, WhatIsMalformedIsLeftOut) {
  for (const char* text : {"", ",,,", "=", "\"", "Bearer realm=\"open", "realm=\"x\"", "@@"}) {
    for (const AuthChallenge& challenge : ParseChallenges(text)) {
      EXPECT_TRUE(challenge.parameters.empty()) << text;
    }
  }
}

}  // namespace
}  // namespace layerfs

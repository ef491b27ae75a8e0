// SPDX-License-Identifier: Apache-2.0
#include "tools/run/seccomp.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

Json Rule(const char* name, Json includes, Json excludes) {
  return {{"names", {name}},
          {"action", "SCMP_ACT_ALLOW"},
          {"args", nullptr},
          {"includes", std::move(includes)},
          {"excludes", std::move(excludes)}};
}

Json Profile(Json rules) {
  return {{"defaultAction", "SCMP_ACT_ERRNO"},
          {"defaultErrnoRet", 38},
          {"archMap",
           {{{"architecture", "SCMP_ARCH_X86_64"}, {"subArchitectures", {"SCMP_ARCH_X86"}}},
            {{"architecture", "SCMP_ARCH_AARCH64"}, {"subArchitectures", Json::array()}}}},
          {"syscalls", std::move(rules)}};
}

const SeccompFacts kFacts{"amd64", {"CAP_CHOWN", "CAP_KILL"}};

struct ConditionCase {
  const char* name;
  Json includes;
  Json excludes;
  bool applies;
};

class Condition : public testing::TestWithParam<ConditionCase> {};

TEST_P(Condition, DecidesWhetherARuleIsThere) {
  const auto made =
      MakeSeccomp(Profile({Rule("read", GetParam().includes, GetParam().excludes)}), kFacts);
  ASSERT_TRUE(made.has_value()) << made.error().context;
  EXPECT_EQ((*made)["syscalls"].size(), GetParam().applies ? 1U : 0U);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Condition,
    testing::Values(
        ConditionCase{"None", Json::object(), Json::object(), true},
        ConditionCase{"Null", nullptr, nullptr, true},
        ConditionCase{"HasTheCapability", {{"caps", {"CAP_KILL"}}}, {}, true},
        ConditionCase{"LacksOneOfTwo", {{"caps", {"CAP_KILL", "CAP_SYS_ADMIN"}}}, {}, false},
        ConditionCase{
            "ExcludedByACapability", {}, {{"caps", {"CAP_SYS_ADMIN", "CAP_KILL"}}}, false},
        ConditionCase{"NotExcluded", {}, {{"caps", {"CAP_SYS_ADMIN"}}}, true},
        ConditionCase{"ThisArchitecture", {{"arches", {"arm64", "amd64"}}}, {}, true},
        ConditionCase{"AnotherArchitecture", {{"arches", {"arm64"}}}, {}, false},
        ConditionCase{"ExcludedArchitecture", {}, {{"arches", {"amd64"}}}, false}),
    [](const auto& info) { return info.param.name; });

TEST(Seccomp, IsInTheRuntimesForm) {
  Json rule = Rule("personality", Json::object(), Json::object());
  rule["args"] = {{{"index", 0}, {"value", 8}, {"op", "SCMP_CMP_EQ"}}};
  rule["errnoRet"] = 1;
  const auto made = MakeSeccomp(Profile({rule}), kFacts);
  ASSERT_TRUE(made.has_value()) << made.error().context;
  const Json expected = {{"defaultAction", "SCMP_ACT_ERRNO"},
                         {"defaultErrnoRet", 38},
                         {"architectures", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"}},
                         {"syscalls",
                          {{{"names", {"personality"}},
                            {"action", "SCMP_ACT_ALLOW"},
                            {"args", rule["args"]},
                            {"errnoRet", 1}}}}};
  EXPECT_EQ(*made, expected);
}

TEST(Seccomp, OfTheRuntimesFormComesBackAsItIs) {
  const Json profile = {{"defaultAction", "SCMP_ACT_ALLOW"},
                        {"architectures", {"SCMP_ARCH_X86_64"}},
                        {"syscalls", Json::array()}};
  const auto made = MakeSeccomp(profile, kFacts);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(*made, profile);
}

TEST(Seccomp, OfTheWrongFormIsAnError) {
  const Json cases[] = {Json::object(),
                        {{"defaultAction", 7}},
                        Profile({{{"names", {"read"}}}}),
                        Profile({{{"names", {7}}, {"action", "SCMP_ACT_ALLOW"}}})};
  for (const Json& profile : cases) {
    const auto made = MakeSeccomp(profile, kFacts);
    ASSERT_FALSE(made.has_value()) << profile.dump();
    EXPECT_EQ(made.error().code, ErrorCode::kCorrupt) << made.error().context;
  }
}

}  // namespace
}  // namespace layerfs

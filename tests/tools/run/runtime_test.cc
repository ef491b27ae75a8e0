// SPDX-License-Identifier: Apache-2.0
#include "tools/run/runtime.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

const FoundRuntimes kBoth{"/bin/crun", "/bin/runc"};
const FoundRuntimes kOnlyCrun{"/bin/crun", std::nullopt};
const FoundRuntimes kOnlyRunc{std::nullopt, "/bin/runc"};
const FoundRuntimes kNeither{};

struct ChoiceCase {
  const char* name;
  const char* wanted;
  FoundRuntimes found;
  CgroupMode cgroups;
  const char* expected;  // a path, or what the error says
  std::optional<ErrorCode> error;
};

class Choice : public testing::TestWithParam<ChoiceCase> {};

TEST_P(Choice, FitsTheMachine) {
  const ChoiceCase& test = GetParam();
  const auto runtime = ChooseRuntime(test.wanted, test.found, test.cgroups);
  ASSERT_EQ(runtime.has_value(), !test.error.has_value());
  if (runtime.has_value()) {
    EXPECT_EQ(*runtime, test.expected);
  } else {
    EXPECT_EQ(runtime.error().code, *test.error);
    EXPECT_NE(runtime.error().context.find(test.expected), std::string::npos)
        << runtime.error().context;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Choice,
    testing::Values(
        ChoiceCase{"UnifiedPrefersCrun", "", kBoth, CgroupMode::kUnified, "/bin/crun", {}},
        ChoiceCase{"LegacyPrefersCrun", "", kBoth, CgroupMode::kLegacy, "/bin/crun", {}},
        ChoiceCase{"HybridTakesRunc", "", kBoth, CgroupMode::kHybrid, "/bin/runc", {}},
        ChoiceCase{"OnlyRunc", "", kOnlyRunc, CgroupMode::kUnified, "/bin/runc", {}},
        ChoiceCase{"HybridWithCrunAlone", "", kOnlyCrun, CgroupMode::kHybrid, "/bin/crun", {}},
        ChoiceCase{"HybridAndCrunWanted", "crun", kBoth, CgroupMode::kHybrid, "/bin/crun", {}},
        ChoiceCase{"RuncWanted", "runc", kBoth, CgroupMode::kUnified, "/bin/runc", {}},
        ChoiceCase{"RuncWantedAndMissing", "runc", kOnlyCrun, CgroupMode::kUnified, "no runc",
                   ErrorCode::kNotFound},
        ChoiceCase{"Neither", "", kNeither, CgroupMode::kUnified, "neither crun nor runc",
                   ErrorCode::kNotFound},
        ChoiceCase{
            "APathIsTakenAsItIs", "/opt/youki", kNeither, CgroupMode::kHybrid, "/opt/youki", {}},
        ChoiceCase{"UnknownProgram", "no-such-runtime", kBoth, CgroupMode::kUnified,
                   "is not on PATH", ErrorCode::kNotFound}),
    [](const auto& info) { return info.param.name; });

TEST(StartFailureStatus, IsThatOfDockerRun) {
  const std::pair<const char*, int> cases[] = {
      {"runc create failed: unable to start container process: exec: \"x\": executable file not "
       "found in $PATH",
       127},
      {"runc create failed: unable to start container process: exec: \"/x\": stat /x: no such file "
       "or directory",
       127},
      {"runc create failed: unable to start container process: exec: \"/etc\": permission denied",
       126},
      {"runc create failed: unable to start container process: exec: \"/etc\": is a directory",
       126},
      {"executable file `x` not found in $PATH: No such file or directory", 127},
      {"open executable: Permission denied", 126},
      {"open executable: Operation not permitted", 126},
      {"runc create failed: mkdir /sys/fs/cgroup/x: permission denied", 125},
      {"open /etc/resolv.conf: no such file or directory", 125},
      {"", 125},
  };
  for (const auto& [message, status] : cases) {
    EXPECT_EQ(StartFailureStatus(message), status) << message;
  }
}

}  // namespace
}  // namespace layerfs

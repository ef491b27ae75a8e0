// SPDX-License-Identifier: Apache-2.0
#include "tools/run/run_options.h"

#include <gtest/gtest.h>

#include <csignal>

#include "tools/run/run_options_json.h"
#include "tools/run/signals.h"

namespace layerfs {
namespace {

std::optional<std::string> TestEnvironment(const std::string& name) {
  if (name == "SET") return "from the caller";
  return std::nullopt;
}

struct VolumeCase {
  const char* name;
  const char* text;
  std::optional<VolumeOption> expected;
};

class Volume : public testing::TestWithParam<VolumeCase> {};

TEST_P(Volume, IsParsedAsDockerDoes) {
  const auto volume = ParseVolumeOption(GetParam().text);
  ASSERT_EQ(volume.has_value(), GetParam().expected.has_value())
      << (volume.has_value() ? "parsed" : volume.error().context);
  if (volume.has_value()) {
    EXPECT_EQ(*volume, *GetParam().expected);
  } else {
    EXPECT_EQ(volume.error().code, ErrorCode::kInvalidArgument);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Texts, Volume,
    testing::Values(VolumeCase{"Bind", "/a:/b", VolumeOption{"/a", "/b"}},
                    VolumeCase{"ReadOnly", "/a:/b:ro", VolumeOption{"/a", "/b", true}},
                    VolumeCase{"LastWordCounts", "/a:/b:ro,rw", VolumeOption{"/a", "/b", false}},
                    VolumeCase{"Propagation", "/a:/b:ro,rslave",
                               VolumeOption{"/a", "/b", true, false, "rslave"}},
                    VolumeCase{"Named", "data:/b:nocopy", VolumeOption{"data", "/b", false, true}},
                    VolumeCase{"Anonymous", "/b", VolumeOption{"", "/b"}},
                    VolumeCase{"DestinationIsCleaned", "/a:/x//../b/./", VolumeOption{"/a", "/b"}},
                    VolumeCase{"RelabellingIsPassedOver", "/a:/b:z", VolumeOption{"/a", "/b"}},
                    VolumeCase{"RelativeDestination", "/a:b", {}}, VolumeCase{"Root", "/a:/", {}},
                    VolumeCase{"RootByDots", "/a:/b/..", {}},
                    VolumeCase{"RelativeSource", "./a:/b", {}},
                    VolumeCase{"UnknownOption", "/a:/b:fast", {}},
                    VolumeCase{"TooManyParts", "/a:/b:ro:x", {}}, VolumeCase{"Empty", "", {}},
                    VolumeCase{"EmptySource", ":/b", {}}),
    [](const auto& info) { return info.param.name; });

TEST(Tmpfs, HasDockersOptionsUnlessTheOppositeIsAsked) {
  const auto plain = ParseTmpfsOption("/run");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->options, (std::vector<std::string>{"noexec", "nosuid", "nodev"}));
  const auto exec = ParseTmpfsOption("/run/x:exec,size=64m,nodev");
  ASSERT_TRUE(exec.has_value());
  EXPECT_EQ(exec->destination, "/run/x");
  EXPECT_EQ(exec->options, (std::vector<std::string>{"nosuid", "exec", "size=64m", "nodev"}));
  EXPECT_FALSE(ParseTmpfsOption("run").has_value());
  EXPECT_FALSE(ParseTmpfsOption("/").has_value());
}

TEST(Environment, WordsTakeTheCallersValueOrNone) {
  EXPECT_EQ(**ParseEnvironmentWord("A=b=c", TestEnvironment), "A=b=c");
  EXPECT_EQ(**ParseEnvironmentWord("A=", TestEnvironment), "A=");
  EXPECT_EQ(**ParseEnvironmentWord("SET", TestEnvironment), "SET=from the caller");
  EXPECT_FALSE(ParseEnvironmentWord("UNSET", TestEnvironment)->has_value());
  EXPECT_FALSE(ParseEnvironmentWord("=x", TestEnvironment).has_value());
  EXPECT_FALSE(ParseEnvironmentWord("", TestEnvironment).has_value());
}

TEST(Environment, FilesAreReadAsDockerDoes) {
  const auto words = ParseEnvironmentFile(
      "\xef\xbb\xbf"
      "A=1\r\n# comment\n\n  B= two words \nSET\nUNSET\nC='quoted'",
      TestEnvironment);
  ASSERT_TRUE(words.has_value());
  EXPECT_EQ(*words, (std::vector<std::string>{"A=1", "B= two words ", "SET=from the caller",
                                              "C='quoted'"}));
  const auto bad = ParseEnvironmentFile("A=1\nNOT GOOD=2\n", TestEnvironment);
  ASSERT_FALSE(bad.has_value());
  EXPECT_TRUE(bad.error().context.starts_with("line 2")) << bad.error().context;
}

TEST(Names, AreThoseOfDocker) {
  for (const char* good : {"a", "web-1", "A_b.c", "0"}) EXPECT_TRUE(IsGoodName(good)) << good;
  for (const char* bad : {"", ".", "..", "-a", "_a", "a/b", "a b", "\xc3\xa4"}) {
    EXPECT_FALSE(IsGoodName(bad)) << bad;
  }
  EXPECT_FALSE(IsGoodName(std::string(129, 'a')));
}

TEST(Signals, AreKnownByNameAndNumber) {
  EXPECT_EQ(*ParseSignal("SIGTERM"), SIGTERM);
  EXPECT_EQ(*ParseSignal("quit"), SIGQUIT);
  EXPECT_EQ(*ParseSignal("9"), SIGKILL);
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(*ParseSignal("RTMAX-1"), SIGRTMAX - 1);
  for (const char* bad : {"", "0", "-1", "65", "SIG", "SIGNOPE", "RTMIN+99999999999", "RTMIN+"}) {
    EXPECT_FALSE(ParseSignal(bad).has_value()) << bad;
  }
}

TEST(RunOptions, SurviveTheWayThroughJson) {
  RunOptions options;
  options.command = {"sh", "-c", "true"};
  options.entrypoint = "";
  options.environment = {"A=1"};
  options.volumes = {*ParseVolumeOption("/a:/b:ro,rslave"), *ParseVolumeOption("/c")};
  options.tmpfs = {*ParseTmpfsOption("/run:exec")};
  options.working_directory = "/w";
  options.user = "app";
  options.hostname = "h";
  options.stop_signal = "INT";
  options.network = NetworkMode::kNone;
  options.read_only = options.interactive = true;
  options.labels = {{"k", "v"}};
  const auto again = DecodeRunOptions(EncodeRunOptions(options));
  ASSERT_TRUE(again.has_value()) << again.error().context;
  EXPECT_EQ(EncodeRunOptions(*again), EncodeRunOptions(options));
  EXPECT_EQ(again->volumes, options.volumes);
  EXPECT_EQ(again->entrypoint, options.entrypoint);
  EXPECT_EQ(again->network, NetworkMode::kNone);
  EXPECT_FALSE(DecodeRunOptions(Json{{"network", 3}}).has_value());
}

struct UlimitCase {
  const char* text;
  std::optional<ResourceLimit> expected;
};

TEST(Ulimit, IsParsedAsDockerDoes) {
  const UlimitCase cases[] = {
      {"nofile=1024:2048", ResourceLimit{"RLIMIT_NOFILE", 1024, 2048}},
      {"nproc=5", ResourceLimit{"RLIMIT_NPROC", 5, 5}},
      {"core=0:-1", ResourceLimit{"RLIMIT_CORE", 0, UINT64_MAX}},
      {"memlock=-1", ResourceLimit{"RLIMIT_MEMLOCK", UINT64_MAX, UINT64_MAX}},
      {"nofile=2:1", std::nullopt},
      {"nofile=-1:1", std::nullopt},
      {"nofile", std::nullopt},
      {"nofile=", std::nullopt},
      {"nofile=1:2:3", std::nullopt},
      {"nofile=-2", std::nullopt},
      {"nofile=1k", std::nullopt},
      {"files=1", std::nullopt},
      {"NOFILE=1", std::nullopt},
      {"", std::nullopt},
  };
  for (const UlimitCase& test : cases) {
    std::vector<ResourceLimit> limits;
    const Status added = AddUlimit(test.text, limits);
    ASSERT_EQ(added.has_value(), test.expected.has_value()) << test.text;
    if (test.expected.has_value()) {
      EXPECT_EQ(limits, std::vector{*test.expected}) << test.text;
    } else {
      EXPECT_EQ(added.error().code, ErrorCode::kInvalidArgument);
    }
  }
}

TEST(Ulimit, TheLastOfANameCounts) {
  std::vector<ResourceLimit> limits;
  for (const char* text : {"nofile=1", "nproc=2", "nofile=3"}) {
    ASSERT_TRUE(AddUlimit(text, limits).has_value());
  }
  EXPECT_EQ(limits, (std::vector{ResourceLimit{"RLIMIT_NPROC", 2, 2},
                                 ResourceLimit{"RLIMIT_NOFILE", 3, 3}}));
}

TEST(SecurityOption, IsParsedAsDockerDoes) {
  RunOptions options;
  ASSERT_TRUE(ApplySecurityOption("seccomp=/a=b", options).has_value());
  EXPECT_EQ(options.seccomp, "/a=b");
  ASSERT_TRUE(ApplySecurityOption("seccomp:unconfined", options).has_value());
  EXPECT_EQ(options.seccomp, "unconfined");
  ASSERT_TRUE(ApplySecurityOption("no-new-privileges", options).has_value());
  EXPECT_TRUE(options.no_new_privileges);
  ASSERT_TRUE(ApplySecurityOption("no-new-privileges=false", options).has_value());
  EXPECT_FALSE(options.no_new_privileges);
  for (const char* text : {"", "seccomp", "seccomp=", "apparmor=x", "no-new-privileges=maybe"}) {
    const Status applied = ApplySecurityOption(text, options);
    ASSERT_FALSE(applied.has_value()) << text;
    EXPECT_EQ(applied.error().code, ErrorCode::kInvalidArgument) << text;
  }
}

TEST(RunOptionsJson, KeepsLimitsAndSecurity) {
  RunOptions options;
  options.limits = {{"RLIMIT_CORE", 0, UINT64_MAX}};
  options.seccomp = "/profile.json";
  options.no_new_privileges = true;
  const auto decoded = DecodeRunOptions(EncodeRunOptions(options));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().context;
  EXPECT_EQ(decoded->limits, options.limits);
  EXPECT_EQ(decoded->seccomp, options.seccomp);
  EXPECT_TRUE(decoded->no_new_privileges);
}

}  // namespace
}  // namespace layerfs

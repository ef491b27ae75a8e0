// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/config_change.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

struct Case {
  const char* name;
  const char* instruction;
  const char* before;
  const char* after;
};

class Change : public testing::TestWithParam<Case> {};

TEST_P(Change, IsThatOfDockerCommit) {
  Json config = Json::parse(GetParam().before);
  const Status applied = ApplyConfigChanges({{GetParam().instruction}}, config);
  ASSERT_TRUE(applied.has_value()) << applied.error().context;
  EXPECT_EQ(nlohmann::json(config), nlohmann::json::parse(GetParam().after)) << config.dump();
}

INSTANTIATE_TEST_SUITE_P(
    Instructions, Change,
    testing::Values(
        Case{"CmdExec", R"(CMD ["a", "b c"])", "{}", R"({"Cmd": ["a", "b c"]})"},
        Case{"CmdShell", "cmd a && b", "{}", R"({"Cmd": ["/bin/sh", "-c", "a && b"]})"},
        Case{"CmdOwnShell", "CMD a", R"({"Shell": ["/bin/ash", "-e"]})",
             R"({"Shell": ["/bin/ash", "-e"], "Cmd": ["/bin/ash", "-e", "a"]})"},
        Case{"EntrypointDropsCmd", R"(ENTRYPOINT ["e"])", R"({"Cmd": ["c"]})",
             R"({"Entrypoint": ["e"]})"},
        Case{"EnvPairs", R"(ENV A=1 B="two words" C=th\ ree)", R"({"Env": ["A=0", "Z=9"]})",
             R"({"Env": ["A=1", "Z=9", "B=two words", "C=th ree"]})"},
        Case{"EnvOldForm", "ENV A  one two", "{}", R"({"Env": ["A=one two"]})"},
        Case{"EnvVariables", R"(ENV B=$A-${A}x'$A'\$A)", R"({"Env": ["A=1"]})",
             R"({"Env": ["A=1", "B=1-1x$A$A"]})"},
        Case{"EnvOldFormKeepsSpaces", "ENV A one   'two  three'  $B", R"({"Env": ["B=4"]})",
             R"({"Env": ["B=4", "A=one   two  three  4"]})"},
        Case{"EnvDefaults", R"(ENV B=${A:-x} C=${N:-"y z"} D=${A:+set} E=${N:+set} F=${N:-${A}})",
             R"({"Env": ["A=1"]})", R"({"Env": ["A=1", "B=1", "C=y z", "D=set", "E=", "F=1"]})"},
        Case{"EnvLines", "ENV A=1 \\\n    B=2\\\n C=\"x\\\n  y\" \\ \t\n  D=4", "{}",
             R"({"Env": ["A=1", "B=2", "C=x  y", "D=4"]})"},
        Case{"EnvLinesOfWindows", "ENV A=1 \\\r\n  B=2\r\n", "{}", R"({"Env": ["A=1", "B=2"]})"},
        Case{"EnvOldFormLines", "ENV A one \\\ntwo", "{}", R"({"Env": ["A=one two"]})"},
        Case{"EnvTwoBackslashesEndTheLine", "ENV A=1\\\\\nENV B=2", "{}",
             R"({"Env": ["A=1\\", "B=2"]})"},
        Case{"EnvBackslashAtTheEnd", "ENV A=1 \\\n", "{}", R"({"Env": ["A=1"]})"},
        Case{"LabelLinesWithComments", "LABEL a=1 \\\n # not this \\\n\n  b='2 \\\n3'", "{}",
             R"({"Labels": {"a": "1", "b": "2 3"}})"},
        Case{"CmdExecLines", "CMD [\"a\", \\\n  \"b\"]", "{}", R"({"Cmd": ["a", "b"]})"},
        Case{"SeveralInstructions", "\n# first\nUSER app\n  WORKDIR /x\n", "{}",
             R"({"User": "app", "WorkingDir": "/x"})"},
        Case{"EnvOfNull", "ENV A=1", R"({"Env": null})", R"({"Env": ["A=1"]})"},
        Case{"ExposeRange", "EXPOSE 80 53/udp 1-2/sctp", R"({"ExposedPorts": {"22/tcp": {}}})",
             R"({"ExposedPorts": {"22/tcp": {}, "80/tcp": {}, "53/udp": {}, "1/sctp": {},
                 "2/sctp": {}}})"},
        Case{"ExposeInCapitals", "EXPOSE 80/TCP", "{}", R"({"ExposedPorts": {"80/tcp": {}}})"},
        Case{"ExposeWithTheHostsPorts",
             "EXPOSE 8080:80 127.0.0.1:1:81 [::1]::82/udp ::1:0:83 9000-9001:84-85 1-2:86 87/",
             "{}",
             R"({"ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "82/udp": {}, "83/tcp": {},
                 "84/tcp": {}, "85/tcp": {}, "86/tcp": {}, "87/tcp": {}}})"},
        Case{"Label", R"(LABEL a=b "c d"='e f')", R"({"Labels": {"a": "old"}})",
             R"({"Labels": {"a": "b", "c d": "e f"}})"},
        Case{"OnBuild", "ONBUILD RUN make x", R"({"OnBuild": ["RUN a"]})",
             R"({"OnBuild": ["RUN a", "RUN make x"]})"},
        Case{"StopSignal", "STOPSIGNAL SIGINT", "{}", R"({"StopSignal": "SIGINT"})"},
        Case{"User", "USER app:staff", R"({"User": "root"})", R"({"User": "app:staff"})"},
        Case{"VolumeWords", "VOLUME /a /b/../c", R"({"Volumes": null})",
             R"({"Volumes": {"/a": {}, "/c": {}}})"},
        Case{"VolumeExec", R"(VOLUME ["/with space"])", "{}",
             R"({"Volumes": {"/with space": {}}})"},
        Case{"WorkdirAbsolute", "WORKDIR /x", R"({"WorkingDir": "/w"})", R"({"WorkingDir": "/x"})"},
        Case{"WorkdirRelative", "WORKDIR x", R"({"WorkingDir": "/w"})",
             R"({"WorkingDir": "/w/x"})"},
        Case{"HealthNone", "HEALTHCHECK NONE", "{}", R"({"Healthcheck": {"Test": ["NONE"]}})"},
        Case{"HealthShell", "HEALTHCHECK --interval=5s --retries=3 CMD curl -f x", "{}",
             R"({"Healthcheck": {"Interval": 5000000000, "Retries": 3,
                 "Test": ["CMD-SHELL", "curl -f x"]}})"},
        Case{"HealthTimes",
             "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --retries=0 CMD x", "{}",
             R"({"Healthcheck": {"Interval": 90000000000, "Timeout": 1500000000,
                 "Test": ["CMD-SHELL", "x"]}})"},
        Case{"HealthLeastTime", "HEALTHCHECK --interval=1ms --timeout=1000\u00b5s CMD x", "{}",
             R"({"Healthcheck": {"Interval": 1000000, "Timeout": 1000000,
                 "Test": ["CMD-SHELL", "x"]}})"},
        Case{"HealthZeroIsTheDefault",
             "HEALTHCHECK --interval=5s --interval=0s --start-interval=0ms CMD x", "{}",
             R"({"Healthcheck": {"Test": ["CMD-SHELL", "x"]}})"},
        Case{"HealthExec", R"(HEALTHCHECK CMD ["a", "b"])", "{}",
             R"({"Healthcheck": {"Test": ["CMD", "a", "b"]}})"}),
    [](const auto& info) { return info.param.name; });

TEST(ApplyConfigChanges, ACommandOfTheirOwnStaysInWhateverOrder) {
  for (const std::vector<std::string>& changes :
       {std::vector<std::string>{R"(CMD ["a"])", R"(ENTRYPOINT ["e"])"},
        std::vector<std::string>{R"(ENTRYPOINT ["e"])", R"(CMD ["a"])"}}) {
    Json config = Json::parse(R"({"Cmd": ["old"]})");
    ASSERT_TRUE(ApplyConfigChanges(changes, config).has_value());
    EXPECT_EQ(config["Entrypoint"], Json::array({"e"}));
    EXPECT_EQ(config["Cmd"], Json::array({"a"}));
  }
}

TEST(ApplyConfigChanges, RefusesWhatItCannotRead) {
  for (const char* bad : {"",
                          "FROM x",
                          "RUN x",
                          "CMD",
                          "ENV A",
                          "ENV =x",
                          "ENV A=1 B",
                          "ENV A='x",
                          "ENV A=${B",
                          "ENV A=${B:-x",
                          "ENV A=${:-x}",
                          "ENV A=${B:=x}",
                          "EXPOSE x",
                          "EXPOSE 0",
                          "EXPOSE 65536",
                          "EXPOSE 80/icmp",
                          "EXPOSE 9-8",
                          "EXPOSE 80:",
                          "EXPOSE x:80",
                          "EXPOSE 65536:80",
                          "EXPOSE 1.2.3:80:80",
                          "EXPOSE localhost:80:80",
                          "EXPOSE 1-3:80-81",
                          "EXPOSE /tcp",
                          "USER a b",
                          "VOLUME relative",
                          "STOPSIGNAL NOPE",
                          "HEALTHCHECK CMD",
                          "HEALTHCHECK --speed=1 CMD x",
                          "HEALTHCHECK --interval=999us CMD x",
                          "HEALTHCHECK --timeout=0.5ms CMD x",
                          "HEALTHCHECK --start-period=1ns CMD x",
                          "HEALTHCHECK --start-interval=-1s CMD x",
                          "USER a\nFROM x",
                          "LABEL a=\"x\ny\"",
                          "# nothing",
                          "ONBUILD ONBUILD x",
                          "ONBUILD FROM x",
                          "LABEL =v"}) {
    Json config = Json::object();
    const Status applied = ApplyConfigChanges({{bad}}, config);
    ASSERT_FALSE(applied.has_value()) << bad;
    EXPECT_EQ(applied.error().code, ErrorCode::kInvalidArgument) << bad;
    EXPECT_TRUE(applied.error().context.starts_with("--change")) << applied.error().context;
  }
}

TEST(ApplyConfigChanges, SaysWhatItDoesNotKnowAsItIsWritten) {
  Json config = Json::object();
  const Status applied = ApplyConfigChanges({{R"(CMD=["x"])"}}, config);
  ASSERT_FALSE(applied.has_value());
  EXPECT_TRUE(applied.error().context.starts_with(R"(--change 'CMD=["x"]': is none of CMD, )"))
      << applied.error().context;
}

}  // namespace
}  // namespace layerfs

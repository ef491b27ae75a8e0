// SPDX-License-Identifier: Apache-2.0
#include "tools/run/bundle.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace layerfs {
namespace {

using Words = std::vector<std::string>;

struct ArgumentCase {
  const char* name;
  Words entrypoint;
  Words command;
  std::optional<std::string> given_entrypoint;
  Words given_command;
  Words expected;  // empty: an error
};

class Arguments : public testing::TestWithParam<ArgumentCase> {};

TEST_P(Arguments, AreThoseOfDockerRun) {
  const ArgumentCase& test = GetParam();
  ImageDefaults image;
  image.entrypoint = test.entrypoint;
  image.command = test.command;
  RunOptions options;
  options.entrypoint = test.given_entrypoint;
  options.command = test.given_command;
  const auto arguments = MakeArguments(image, options);
  ASSERT_EQ(arguments.has_value(), !test.expected.empty());
  if (arguments.has_value()) {
    EXPECT_EQ(*arguments, test.expected);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Arguments,
    testing::Values(
        ArgumentCase{"CommandAlone", {}, {"a", "b"}, {}, {}, {"a", "b"}},
        ArgumentCase{"EntrypointAndCommand", {"e"}, {"c"}, {}, {}, {"e", "c"}},
        ArgumentCase{
            "GivenCommandReplacesTheImages", {"e"}, {"c"}, {}, {"x", "y"}, {"e", "x", "y"}},
        ArgumentCase{"GivenEntrypointDropsTheImagesCommand", {"e"}, {"c"}, "n", {}, {"n"}},
        ArgumentCase{"GivenEntrypointAndCommand", {"e"}, {"c"}, "n", {"x"}, {"n", "x"}},
        ArgumentCase{"EmptyEntrypointIsNone", {"e"}, {"c"}, "", {"x"}, {"x"}},
        ArgumentCase{"EmptyEntrypointWithoutCommand", {"e"}, {"c"}, "", {}, {}},
        ArgumentCase{"Nothing", {}, {}, {}, {}, {}},
        ArgumentCase{"EmptyWordIsOne", {}, {""}, {}, {}, {""}}),
    [](const auto& info) { return info.param.name; });

TEST(Environment, LaterValuesTakeThePlaceOfEarlierOnes) {
  ImageDefaults image;
  image.environment = {"PATH=/image", "A=image", "B=image", "WITHOUT"};
  RunOptions options;
  options.environment = {"A=caller", "C=caller", "C=again"};
  EXPECT_EQ(
      MakeEnvironment(image, options, {"host", "/home/app"}),
      (Words{"PATH=/image", "HOSTNAME=host", "A=caller", "B=image", "C=again", "HOME=/home/app"}));
  options.terminal = true;
  options.environment = {"HOME=/own"};
  EXPECT_EQ(MakeEnvironment({}, options, {"h", "/"}),
            (Words{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   "HOSTNAME=h", "TERM=xterm", "HOME=/own"}));
}

TEST(ImageDefaults, TakesWhatBuildersWrite) {
  const Json config = Json::parse(R"({"config": {
    "Entrypoint": ["/e"], "Cmd": null, "Env": ["A=1"], "User": "app", "WorkingDir": "/w",
    "Volumes": {"/z": {}, "/a": {}}, "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}},
    "Labels": {"k": "v"}, "OnBuild": null, "Healthcheck": {"Test": ["NONE"]}}})");
  const auto defaults = ImageDefaults::FromConfig(config);
  ASSERT_TRUE(defaults.has_value()) << defaults.error().context;
  EXPECT_EQ(defaults->entrypoint, Words{"/e"});
  EXPECT_TRUE(defaults->command.empty());
  EXPECT_EQ(defaults->volumes, (Words{"/a", "/z"}));
  EXPECT_EQ(defaults->exposed_ports, Words{"80/tcp"});
  EXPECT_EQ(defaults->stop_signal, "SIGINT");
  EXPECT_EQ(defaults->labels.at("k"), "v");
  EXPECT_TRUE(ImageDefaults::FromConfig(Json::parse(R"({})")).has_value());
  EXPECT_TRUE(ImageDefaults::FromConfig(Json::parse(R"({"config": null})")).has_value());
}

TEST(ImageDefaults, RefusesMembersOfTheWrongType) {
  for (const char* text :
       {R"({"config": []})", R"({"config": {"Env": "A=1"}})", R"({"config": {"Cmd": [1]}})",
        R"({"config": {"User": 5}})", R"({"config": {"Volumes": ["/a"]}})",
        R"({"config": {"Labels": {"k": 1}}})"}) {
    const auto defaults = ImageDefaults::FromConfig(Json::parse(text));
    ASSERT_FALSE(defaults.has_value()) << text;
    EXPECT_EQ(defaults.error().code, ErrorCode::kCorrupt);
  }
}

BundleSpec SampleSpec() {
  BundleSpec spec;
  spec.root = "/root";
  spec.arguments = {"cmd"};
  spec.environment = {"A=1"};
  spec.hostname = "h";
  return spec;
}

Words Destinations(const Json& document) {
  Words destinations;
  for (const Json& mount : document["mounts"]) destinations.push_back(mount["destination"]);
  return destinations;
}

bool HasNamespace(const Json& document, const char* type) {
  return std::ranges::any_of(document["linux"]["namespaces"],
                             [&](const Json& item) { return item["type"] == type; });
}

TEST(RuntimeSpec, GivesRootDockersCapabilitiesAndOthersNone) {
  BundleSpec spec = SampleSpec();
  const Json root = MakeRuntimeSpec(spec)["process"]["capabilities"];
  EXPECT_EQ(root["bounding"].size(), 14U);
  EXPECT_EQ(root["effective"], root["bounding"]);
  EXPECT_EQ(root["permitted"], root["bounding"]);
  EXPECT_TRUE(root["inheritable"].empty());
  spec.user.uid = 1000;
  const Json user = MakeRuntimeSpec(spec)["process"]["capabilities"];
  EXPECT_EQ(user["bounding"], root["bounding"]);
  EXPECT_TRUE(user["effective"].empty());
  EXPECT_TRUE(user["permitted"].empty());
}

TEST(RuntimeSpec, OwnMountsTakeThePlaceOfDefaultsAndComeAfterTheirParents) {
  BundleSpec spec = SampleSpec();
  spec.mounts = {BindMount("/src/deep", "/data/deep", false), BindMount("/src", "/data", true),
                 TmpfsMount({"/dev/shm", {"size=1g"}})};
  const Json document = MakeRuntimeSpec(spec);
  const Words destinations = Destinations(document);
  EXPECT_EQ(std::ranges::count(destinations, "/dev/shm"), 1);
  const auto position = [&](const char* path) {
    return std::ranges::find(destinations, path) - destinations.begin();
  };
  EXPECT_LT(position("/data"), position("/data/deep"));
  EXPECT_LT(position("/dev"), position("/dev/shm"));
  EXPECT_LT(position("/sys"), position("/sys/fs/cgroup"));
  const Json& data = document["mounts"][static_cast<size_t>(position("/data"))];
  EXPECT_EQ(data["options"], (Json{"rbind", "rprivate", "ro"}));
}

TEST(RuntimeSpec, SharesTheNetworkUnlessAskedForNone) {
  BundleSpec spec = SampleSpec();
  EXPECT_FALSE(HasNamespace(MakeRuntimeSpec(spec), "network"));
  spec.network = NetworkMode::kNone;
  const Json document = MakeRuntimeSpec(spec);
  EXPECT_TRUE(HasNamespace(document, "network"));
  for (const char* type : {"mount", "pid", "ipc", "uts"}) {
    EXPECT_TRUE(HasNamespace(document, type)) << type;
  }
}

TEST(RuntimeSpec, FollowsWhatTheMachineHas) {
  BundleSpec spec = SampleSpec();
  spec.platform = {false, false, false};
  const Json bare = MakeRuntimeSpec(spec);
  EXPECT_EQ(std::ranges::count(Destinations(bare), "/dev/mqueue"), 0);
  EXPECT_EQ(std::ranges::count(Destinations(bare), "/sys/fs/cgroup"), 0);
  EXPECT_FALSE(bare["linux"].contains("resources"));
  spec.platform = {true, true, true};
  EXPECT_TRUE(HasNamespace(MakeRuntimeSpec(spec), "cgroup"));
}

TEST(RuntimeSpec, SaysWhoAndWhere) {
  BundleSpec spec = SampleSpec();
  spec.user = {7, 8, {9, 10}, "/"};
  spec.working_directory = "/w";
  spec.root_read_only = true;
  spec.terminal = true;
  spec.annotations = {{"k", "v"}};
  const Json document = MakeRuntimeSpec(spec);
  EXPECT_EQ(document["process"]["user"],
            (Json{{"uid", 7}, {"gid", 8}, {"additionalGids", {9, 10}}}));
  EXPECT_EQ(document["process"]["cwd"], "/w");
  EXPECT_EQ(document["process"]["terminal"], true);
  EXPECT_EQ(document["root"], (Json{{"path", "/root"}, {"readonly", true}}));
  EXPECT_EQ(document["annotations"], (Json{{"k", "v"}}));
  EXPECT_EQ(MakeRuntimeSpec(spec).dump(), document.dump()) << "not deterministic";
}

TEST(RuntimeSpec, SaysLimitsPrivilegesAndSystemCalls) {
  BundleSpec spec;
  spec.root = "/root";
  EXPECT_FALSE(MakeRuntimeSpec(spec)["linux"].contains("seccomp"));
  spec.limits = {{"RLIMIT_NOFILE", 10, 20}};
  spec.no_new_privileges = true;
  spec.seccomp = {{"defaultAction", "SCMP_ACT_ALLOW"}};
  const Json document = MakeRuntimeSpec(spec);
  EXPECT_EQ(document["process"]["rlimits"],
            (Json::array({{{"type", "RLIMIT_NOFILE"}, {"soft", 10}, {"hard", 20}}})));
  EXPECT_EQ(document["process"]["noNewPrivileges"], true);
  EXPECT_EQ(document["linux"]["seccomp"], spec.seccomp);
}

const Json* FindMount(const Json& document, const char* destination) {
  for (const Json& mount : document["mounts"]) {
    if (mount["destination"] == destination) return &mount;
  }
  return nullptr;
}

TEST(RuntimeSpec, OfAnOrdinaryUserAsksForNothingThatOnlyRootMayHave) {
  BundleSpec spec;
  spec.root = "/root";
  spec.platform.rootless = true;
  spec.platform.has_cgroups = false;
  spec.platform.has_tty_group = false;
  const Json with_host_network = MakeRuntimeSpec(spec);
  EXPECT_EQ((*FindMount(with_host_network, "/sys"))["type"], "bind");
  EXPECT_EQ(FindMount(with_host_network, "/sys/fs/cgroup"), nullptr);
  for (const Json& option : (*FindMount(with_host_network, "/dev/pts"))["options"]) {
    EXPECT_NE(option, "gid=5");
  }
  spec.network = NetworkMode::kNone;
  const Json with_own_network = MakeRuntimeSpec(spec);
  EXPECT_EQ((*FindMount(with_own_network, "/sys"))["type"], "sysfs");
}

}  // namespace
}  // namespace layerfs

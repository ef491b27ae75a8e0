// SPDX-License-Identifier: Apache-2.0
// What hosts.toml and registries.conf say of a repository.
#include <gtest/gtest.h>

#include <filesystem>

#include "fetch/endpoint_health.h"
#include "fetch/hosts_toml.h"
#include "fetch/registries_conf.h"
#include "fetch/toml.h"
#include "tests/fetch/temp_dir.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;

TEST(TomlTest, TablesStayInTheOrderOfTheFile) {
  const auto json = ParseToml("[host.z]\na=1\n[host.b]\n[host.k]\n", "t");
  ASSERT_TRUE(json.has_value()) << json.error().context;
  std::string names;
  for (const auto& [name, value] : (*json)["host"].items()) names += name;
  EXPECT_EQ(names, "zbk");
}

TEST(TomlTest, ErrorNamesFileAndLine) {
  const auto json = ParseToml("a = 1\nb = = 2\n", "hosts.toml");
  ASSERT_FALSE(json.has_value());
  EXPECT_EQ(json.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(json.error().context.find("hosts.toml: line 2"), std::string::npos)
      << json.error().context;
}

class HostsTomlTest : public testing::Test {
 protected:
  std::vector<RegistryEndpoint> Read(const std::string& name, const std::string& text,
                                     const std::string& registry = "docker.io") {
    directory_.Write(name + "/hosts.toml", text);
    auto found = FindRegistryHosts({directory_.path()}, registry, "library/app");
    EXPECT_TRUE(found.has_value()) << found.error().context;
    return found.value_or(RegistryHosts()).endpoints;
  }
  TempDir directory_;
};

TEST_F(HostsTomlTest, HostsComeInOrderAndTheServerLast) {
  const auto endpoints = Read("docker.io", R"(
server = "https://registry-1.docker.io"
[host."https://second-by-name.example.com:5000"]
  capabilities = ["pull"]
  ca = ["a.pem", "/etc/b.pem"]
  client = [["cert.pem", "key.pem"]]
  dial_timeout = "3s"
  [host."https://second-by-name.example.com:5000".header]
    x-team = "build"
[host."http://127.0.0.1:30020/proxy"]
  skip_verify = true
[host."https://h.example.com/api/oci"]
  override_path = true
[host."unix:///run/peer.sock"]
)");
  ASSERT_EQ(endpoints.size(), 5U);
  EXPECT_EQ(endpoints[0].api_root, "https://second-by-name.example.com:5000/v2");
  EXPECT_EQ(endpoints[0].name_space, "docker.io");
  EXPECT_FALSE(endpoints[0].resolves_tags);
  EXPECT_TRUE(endpoints[0].serves_digests);
  EXPECT_EQ(endpoints[0].tls.ca_files,
            (std::vector<std::string>{directory_ / "docker.io/a.pem", "/etc/b.pem"}));
  EXPECT_EQ(endpoints[0].tls.client_cert, directory_ / "docker.io/cert.pem");
  EXPECT_EQ(endpoints[0].tls.client_key, directory_ / "docker.io/key.pem");
  EXPECT_EQ(endpoints[0].dial_timeout, milliseconds(3000));
  ASSERT_EQ(endpoints[0].headers.size(), 1U);
  EXPECT_EQ(endpoints[0].headers[0].second, "build");
  EXPECT_EQ(endpoints[1].api_root, "http://127.0.0.1:30020/proxy/v2");
  EXPECT_TRUE(endpoints[1].tls.skip_verify);
  EXPECT_EQ(endpoints[2].api_root, "https://h.example.com/api/oci");
  EXPECT_EQ(endpoints[3].unix_socket, "/run/peer.sock");
  EXPECT_TRUE(endpoints[4].is_registry);
  EXPECT_EQ(endpoints[4].api_root, "https://registry-1.docker.io/v2");
  EXPECT_EQ(endpoints[4].host, "docker.io");
}

TEST_F(HostsTomlTest, DefaultDirectoryIsForAllOthers) {
  const auto endpoints = Read("_default", "[host.\"https://m.example.com\"]\n", "quay.io");
  ASSERT_EQ(endpoints.size(), 2U);
  EXPECT_EQ(endpoints[0].name_space, "quay.io");
  EXPECT_EQ(endpoints[1].host, "quay.io");
  EXPECT_TRUE(endpoints[1].api_root.empty());
}

TEST_F(HostsTomlTest, UnderscoresStandForThePortsColon) {
  EXPECT_EQ(Read("r.example.com_5000_", "[host.\"https://m\"]\n", "r.example.com:5000").size(), 2U);
}

TEST_F(HostsTomlTest, HostsDirectoryIsNotThatOfItsPorts) {
  EXPECT_TRUE(Read("r.example.com", "[host.\"https://m\"]\n", "r.example.com:5000").empty());
}

TEST_F(HostsTomlTest, DockersCertificatesCountWithoutAHostsToml) {
  directory_.Write("r.example.com/ca.crt", "");
  directory_.Write("r.example.com/me.cert", "");
  directory_.Write("r.example.com/me.key", "");
  const auto found = FindRegistryHosts({directory_.path()}, "r.example.com", "app").value();
  EXPECT_TRUE(found.endpoints.empty());
  EXPECT_EQ(found.certificates.ca_files.size(), 1U);
  EXPECT_EQ(found.certificates.client_key, directory_ / "r.example.com/me.key");
}

TEST_F(HostsTomlTest, EmptyDirectoryIsAsIfItWereNotThere) {
  std::filesystem::create_directory(directory_ / "quay.io");
  EXPECT_EQ(Read("_default", "[host.\"https://m.example.com\"]\n", "quay.io").size(), 2U);
}

TEST_F(HostsTomlTest, UnknownRegistryIsNothing) {
  const auto found = FindRegistryHosts({directory_.path(), "/nonexistent"}, "quay.io", "a").value();
  EXPECT_TRUE(found.endpoints.empty());
  EXPECT_EQ(found.certificates, EndpointTls());
}

TEST_F(HostsTomlTest, DialTimeoutIsWhatGoTakesForATime) {
  const std::pair<const char*, int64_t> cases[] = {
      {"\"1m30s\"", 90'000}, {"\"1.5s\"", 1500}, {"\"2h\"", 7'200'000}, {"\"300ms\"", 300},
      {"\"5\"", 5000},       {"2.5", 2500},      {"\"0s\"", 0}};
  for (const auto& [text, wanted_ms] : cases) {
    const auto endpoints = Read("docker.io", std::string("dial_timeout = ") + text + "\n");
    ASSERT_EQ(endpoints.size(), 1U) << text;
    EXPECT_EQ(endpoints[0].dial_timeout, milliseconds(wanted_ms)) << text;
  }
  for (const char* text : {"nan", "inf", "-1", "1e300", "\"-5s\"", "\"nan\"", "\"nans\"", "\"inf\"",
                           "\"\"", "\"s\"", "\".\"", "\"1s5\"", "\"99999999h\"", "true"}) {
    directory_.Write("quay.io/hosts.toml", std::string("dial_timeout = ") + text + "\n");
    EXPECT_FALSE(FindRegistryHosts({directory_.path()}, "quay.io", "a").has_value()) << text;
  }
}

TEST_F(HostsTomlTest, BadTimeIsAnErrorThatNamesTheFile) {
  directory_.Write("quay.io/hosts.toml", "[host.\"https://m\"]\ndial_timeout = \"soon\"\n");
  const auto found = FindRegistryHosts({directory_.path()}, "quay.io", "a");
  ASSERT_FALSE(found.has_value());
  EXPECT_NE(found.error().context.find("quay.io/hosts.toml"), std::string::npos);
}

class RegistriesConfTest : public testing::Test {
 protected:
  RegistriesConf Load(const std::string& text) {
    const std::string file = directory_.Write("registries.conf", text);
    auto conf = RegistriesConf::Load({file, file + ".d"});
    EXPECT_TRUE(conf.has_value()) << conf.error().context;
    return conf.value_or(RegistriesConf());
  }
  TempDir directory_;
};

constexpr char kConf[] = R"(
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io/library"
location = "mirror.example.com/hub"
[[registry.mirror]]
location = "near.example.com:5000/cache"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "127.0.0.1:5001"
insecure = true
[[registry]]
location = "docker.io"
blocked = true
[[registry]]
prefix = "*.corp.example.com"
[[registry.mirror]]
location = "corp-mirror.example.com"
pull-from-mirror = "tag-only"
)";

TEST_F(RegistriesConfTest, LongestPrefixCountsAndIsRewritten) {
  const auto endpoints = Load(kConf).EndpointsFor("docker.io", "library/debian").value();
  ASSERT_EQ(endpoints.size(), 3U);
  EXPECT_EQ(endpoints[0].api_root, "https://near.example.com:5000/v2");
  EXPECT_EQ(endpoints[0].repository, "cache/debian");
  EXPECT_FALSE(endpoints[0].resolves_tags);
  EXPECT_EQ(endpoints[1].api_root, "http://127.0.0.1:5001/v2");
  EXPECT_EQ(endpoints[1].repository, "debian");
  EXPECT_EQ(endpoints[2].host, "mirror.example.com");
  EXPECT_EQ(endpoints[2].repository, "hub/debian");
  EXPECT_TRUE(endpoints[2].is_registry);
}

TEST_F(RegistriesConfTest, PushGoesToTheNamedRegistryInsecureOrNot) {
  const auto moved = Load(kConf).PushEndpointsFor("docker.io", "library/debian").value();
  ASSERT_EQ(moved.size(), 1U);
  EXPECT_EQ(moved[0].host, "docker.io");
  EXPECT_EQ(moved[0].repository, "library/debian");
  EXPECT_FALSE(Load(kConf).PushEndpointsFor("docker.io", "other/app").has_value());
  const auto insecure = Load("[[registry]]\nlocation=\"r.example.com\"\ninsecure=true\n")
                            .PushEndpointsFor("r.example.com", "app")
                            .value();
  ASSERT_EQ(insecure.size(), 2U);
  EXPECT_TRUE(insecure[0].tls.skip_verify);
  EXPECT_EQ(insecure[1].api_root, "http://r.example.com/v2");
}

TEST_F(RegistriesConfTest, BlockedRegistryIsAnError) {
  const auto endpoints = Load(kConf).EndpointsFor("docker.io", "other/app");
  ASSERT_FALSE(endpoints.has_value());
  EXPECT_EQ(endpoints.error().code, ErrorCode::kPermission);
}

TEST_F(RegistriesConfTest, WildcardTakesSubdomainsOnly) {
  const RegistriesConf conf = Load(kConf);
  const auto endpoints = conf.EndpointsFor("r.corp.example.com", "team/app").value();
  ASSERT_EQ(endpoints.size(), 2U);
  EXPECT_FALSE(endpoints[0].serves_digests);
  EXPECT_EQ(endpoints[0].repository, "team/app");
  EXPECT_EQ(endpoints[1].host, "r.corp.example.com");
  EXPECT_TRUE(conf.EndpointsFor("corp.example.com", "app").value().empty());
}

TEST_F(RegistriesConfTest, PrefixEndsAtASlash) {
  EXPECT_TRUE(Load("[[registry]]\nlocation=\"quay.io/a\"\n")
                  .EndpointsFor("quay.io", "ab/c")
                  .value()
                  .empty());
}

TEST_F(RegistriesConfTest, SlashAtTheEndMeansNothing) {
  const auto endpoints = Load("[[registry]]\nprefix=\"quay.io/a/\"\nlocation=\"b.example.com/\"\n")
                             .EndpointsFor("quay.io", "a/c")
                             .value();
  ASSERT_EQ(endpoints.size(), 1U);
  EXPECT_EQ(endpoints[0].host, "b.example.com");
  EXPECT_EQ(endpoints[0].repository, "c");
}

TEST_F(RegistriesConfTest, MirrorOnDockerHubIsWhereTheHubIs) {
  const auto endpoints =
      Load("[[registry]]\nlocation=\"quay.io\"\n[[registry.mirror]]\nlocation=\"docker.io/foo\"\n")
          .EndpointsFor("quay.io", "a")
          .value();
  ASSERT_EQ(endpoints.size(), 2U);
  EXPECT_EQ(endpoints[0].host, "docker.io");
  EXPECT_EQ(endpoints[0].api_root, "https://registry-1.docker.io/v2");
  EXPECT_EQ(endpoints[0].repository, "foo/a");
}

TEST_F(RegistriesConfTest, WhatCannotBeMeantIsAnErrorThatNamesFileAndKey) {
  struct Case {
    const char* text;
    const char* key;
  };
  for (const Case& c : {
           Case{"[[registry]]\nlocation = 5\n", "location"},
           Case{"[[registry]]\nlocation = \"http://a.b\"\n", "location"},
           Case{"[[registry]]\nprefix = \"https://a.b\"\nlocation = \"a.b\"\n", "prefix"},
           Case{"[[registry]]\nlocation = \"a.b\"\nblocked = \"true\"\n", "blocked"},
           Case{"[[registry]]\nlocation = \"a.b\"\ninsecure = 1\n", "insecure"},
           Case{"[[registry]]\nlocation = \"a.b\"\nmirror = \"c.d\"\n", "mirror"},
           Case{"[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\nlocation = "
                "\"https://c.d\"\n",
                "mirror: location"},
           Case{"[registry]\nlocation = \"a.b\"\n", "registry"},
           Case{"[[registry]]\ninsecure = true\n", "location"},
       }) {
    const std::string file = directory_.Write("bad.conf", c.text);
    const auto conf = RegistriesConf::Load({file});
    ASSERT_FALSE(conf.has_value()) << c.text;
    EXPECT_EQ(conf.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(conf.error().context.find(file), std::string::npos) << conf.error().context;
    EXPECT_NE(conf.error().context.find(c.key), std::string::npos) << conf.error().context;
  }
}

TEST_F(RegistriesConfTest, DropInTakesThePlaceOfATable) {
  directory_.Write("registries.conf.d/10.conf",
                   "[[registry]]\nlocation=\"quay.io\"\n[[registry.mirror]]"
                   "\nlocation=\"a.b\"\n");
  const auto endpoints =
      Load("[[registry]]\nlocation=\"quay.io\"\nblocked=true\n").EndpointsFor("quay.io", "x");
  ASSERT_TRUE(endpoints.has_value()) << endpoints.error().context;
  EXPECT_EQ(endpoints->size(), 2U);
}

TEST(EndpointHealthTest, FailedOneRestsThenIsTriedByOne) {
  EndpointHealth health;
  const TimePoint now{std::chrono::hours(1)};
  EXPECT_TRUE(health.Usable(now));
  EXPECT_TRUE(health.Failed(now));
  EXPECT_FALSE(health.Usable(now));
  const TimePoint rested = now + EndpointHealth::kFirstRest;
  EXPECT_TRUE(health.Usable(rested));
  EXPECT_FALSE(health.Usable(rested)) << "one probe at a time";
  EXPECT_FALSE(health.Failed(rested));
  EXPECT_FALSE(health.Usable(rested + EndpointHealth::kFirstRest)) << "the second rest is longer";
  health.Succeeded();
  EXPECT_TRUE(health.Usable(rested));
}

}  // namespace
}  // namespace layerfs

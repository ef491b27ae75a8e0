// SPDX-License-Identifier: Apache-2.0
#include "tools/services.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace layerfs {
namespace {

// A daemon leaves the directory that they are from, and reads credentials again when a token ends.
TEST(ServiceOptions, EveryPathCanBeMadeAbsolute) {
  const std::string here = std::filesystem::current_path();
  ServiceOptions options;
  options.cache_directory = "cache";
  options.auth_file = "auth.json";
  options.hosts_directories = {"hosts", "/etc/hosts.d"};
  ASSERT_EQ(setenv("REGISTRY_AUTH_FILE", "env/auth.json", 1), 0);
  ASSERT_EQ(setenv("DOCKER_CONFIG", "/absolute", 1), 0);
  ASSERT_EQ(setenv("SSL_CERT_FILE", "", 1), 0);
  ASSERT_EQ(setenv("SSL_CERT_DIR", "certs:/etc/ssl/certs", 1), 0);
  ASSERT_TRUE(options.MakeAbsolute().has_value());
  EXPECT_EQ(options.cache_directory, here + "/cache");
  EXPECT_EQ(options.auth_file, here + "/auth.json");
  EXPECT_EQ(options.registries_conf, "");
  EXPECT_EQ(options.hosts_directories[0], here + "/hosts");
  EXPECT_EQ(options.hosts_directories[1], "/etc/hosts.d");
  EXPECT_EQ(getenv("REGISTRY_AUTH_FILE"), here + "/env/auth.json");
  EXPECT_EQ(getenv("DOCKER_CONFIG"), std::string("/absolute"));
  EXPECT_EQ(getenv("SSL_CERT_FILE"), std::string());
  EXPECT_EQ(getenv("SSL_CERT_DIR"), here + "/certs:/etc/ssl/certs");
  for (const char* name :
       {"REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR"}) {
    unsetenv(name);
  }
}

TEST(ServiceOptions, KeyWithoutItsCertificateIsRefused) {
  ServiceOptions options;
  CLI::App app;
  options.DeclareRegistry(app);
  EXPECT_THROW(app.parse("--key k.pem"), CLI::RequiresError);
  EXPECT_NO_THROW(app.parse("--key k.pem --cert c.pem"));
}

TEST(RegistriesConfFiles, DropInsOfTheUserCountWithoutAFileOfHis) {
  unsetenv("CONTAINERS_REGISTRIES_CONF");
  const char* const before = getenv("HOME");
  const std::string home = before != nullptr ? before : "";
  ASSERT_EQ(setenv("HOME", "/nonexistent", 1), 0);
  EXPECT_EQ(RegistriesConfFiles("").value(),
            (std::vector<std::string>{"/etc/containers/registries.conf",
                                      "/etc/containers/registries.conf.d",
                                      "/nonexistent/.config/containers/registries.conf.d"}));
  if (before != nullptr) setenv("HOME", home.c_str(), 1);
}

TEST(RegistriesConfFiles, NamedFileMustBeThere) {
  const auto option = RegistriesConfFiles("/nonexistent/a.conf");
  ASSERT_FALSE(option.has_value());
  EXPECT_NE(option.error().context.find("--registries-conf /nonexistent/a.conf"),
            std::string::npos);
  ASSERT_EQ(setenv("CONTAINERS_REGISTRIES_CONF", "/nonexistent/b.conf", 1), 0);
  EXPECT_FALSE(RegistriesConfFiles("").has_value());
  EXPECT_EQ(RegistriesConfFiles("/dev/null").value().front(), "/dev/null");
  unsetenv("CONTAINERS_REGISTRIES_CONF");
}

}  // namespace
}  // namespace layerfs

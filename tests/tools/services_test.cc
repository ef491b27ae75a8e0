// SPDX-License-Identifier: Apache-2.0
#include "tools/services.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

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

}  // namespace
}  // namespace layerfs

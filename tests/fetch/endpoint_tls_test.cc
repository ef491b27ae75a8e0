// SPDX-License-Identifier: Apache-2.0
// With which TLS settings registries and mirrors are spoken to: those of the options, of
// hosts.toml, of certificate directories and of registries.conf.
#include <fcntl.h>
#include <gmock/gmock.h>

#include <filesystem>

#include "fetch/registry_store.h"
#include "index/base/file.h"
#include "tests/fetch/registry_testing.h"
#include "tests/fetch/test_tls.h"

namespace layerfs {
namespace {

class EndpointTlsTest : public testing::Test {
 protected:
  EndpointTlsTest() {
    for (FakeRegistry* registry : {&secure_, &plain_}) {
      registry->AddManifest("1", "{}", media_type::kOciManifest);
    }
    options_.hosts_directories = {directory_ / "certs.d"};
    options_.auth_file = directory_.Write("auth.json", "{}");
  }
  void TearDown() override {
    if (context_ != nullptr) context_->Shutdown();
  }
  RegistryContext& Context() {
    if (context_ != nullptr) context_->Shutdown();
    options_.timeout = std::chrono::seconds(5);
    context_ = RegistryContext::Create(options_, {.clock = &clock_}).value();
    return *context_;
  }
  // The root of an image at that registry.
  Status Read(const std::string& registry) {
    Context();
    LAYERFS_TRY(reader,
                MakeRegistryReader(
                    context_, ImageReference::Parse("docker://" + registry + "/app:1").value()));
    LAYERFS_CHECK_OK(reader->ReadRoot());
    return {};
  }
  // Pushes a blob, and looks for it and what refers to it.
  Status Push(const std::string& registry) {
    Context();
    const Digest digest = Digest::Of(AsBytes("blob"));
    const UniqueFd fd = *OpenFile(directory_.Write("blob", "blob"), O_RDONLY);
    LAYERFS_TRY(writer,
                MakeRegistryWriter(
                    context_, ImageReference::Parse("docker://" + registry + "/app:1").value()));
    LAYERFS_CHECK_OK(writer->WriteBlob(digest, 4, fd.get(), nullptr));
    LAYERFS_TRY(there, writer->HasBlob(digest, 4));
    EXPECT_TRUE(there);
    LAYERFS_TRY(reader,
                MakeRegistryReader(
                    context_, ImageReference::Parse("docker://" + registry + "/app:1").value()));
    LAYERFS_CHECK_OK(reader->ReadReferrers(digest, ""));
    return {};
  }
  void WriteHosts(const std::string& registry, const std::string& text) {
    directory_.Write("certs.d/" + registry + "/hosts.toml", text);
  }

  TempDir directory_;
  TestTls tls_;
  FakeRegistry secure_{FakeServer::Options{.tls = &tls_}};
  FakeRegistry plain_;
  JumpingClock clock_;
  StoreOptions options_;
  std::shared_ptr<RegistryContext> context_;
};

TEST_F(EndpointTlsTest, ClientCertificateOfTheOptionsIsShownBesideAnEndpointsAuthority) {
  tls_.RequireClientCertificate();
  options_.tls.client_cert = tls_.client_cert();
  options_.tls.client_key = tls_.client_key();
  WriteHosts("127.0.0.2:1",
             "[host.\"https://" + secure_.authority() + "\"]\nca = \"" + tls_.ca_file() + "\"\n");
  const Status read = Read("127.0.0.2:1");
  EXPECT_TRUE(read.has_value()) << read.error().context;
}

TEST_F(EndpointTlsTest, LoopbackWithoutASchemeIsHttpsOnceSomethingIsSaidOfItsTls) {
  WriteHosts("127.0.0.2:1",
             "[host.\"" + secure_.authority() + "\"]\nca = \"" + tls_.ca_file() + "\"\n");
  const Status read = Read("127.0.0.2:1");
  EXPECT_TRUE(read.has_value()) << read.error().context;
  WriteHosts("127.0.0.3:1", "[host.\"" + secure_.authority() + "\"]\nskip_verify = true\n");
  EXPECT_TRUE(Read("127.0.0.3:1").has_value());
  WriteHosts("127.0.0.4:1", "[host.\"" + plain_.authority() + "\"]\n");
  EXPECT_TRUE(Read("127.0.0.4:1").has_value());
  options_.tls.ca_file = tls_.ca_file();
  WriteHosts("127.0.0.5:1", "[host.\"" + secure_.authority() + "\"]\n");
  EXPECT_TRUE(Read("127.0.0.5:1").has_value());
}

TEST_F(EndpointTlsTest, PushGoesToTheRegistryWithTheRegistrysOwnTls) {
  struct Case {
    const char* name;
    std::string file;
    std::string text;
  };
  const std::string host = secure_.authority();
  const std::string ca = "ca = \"" + tls_.ca_file() + "\"\n";
  const std::string mirror = "[host.\"" + plain_.server().url() + "\"]\n";
  for (const Case& c : {
           Case{"server of a hosts.toml", "certs.d/" + host + "/hosts.toml", ca + mirror},
           Case{"server without verification", "certs.d/" + host + "/hosts.toml",
                "server = \"https://" + host + "\"\nskip_verify = true\n" + mirror},
           Case{"host of the registry's own name", "certs.d/" + host + "/hosts.toml",
                mirror + "[host.\"https://" + host + "\"]\n" + ca},
           Case{"certificates", "certs.d/" + host + "/ca.crt",
                std::string(AsText(ReadFile(tls_.ca_file(), 1 << 20).value()))},
       }) {
    directory_.Write(c.file, c.text);
    const Status pushed = Push(host);
    EXPECT_TRUE(pushed.has_value()) << c.name << ": " << pushed.error().context;
    std::filesystem::remove_all(directory_ / "certs.d");
  }
  EXPECT_EQ(plain_.server().Count("POST", ""), 0U);
}

TEST_F(EndpointTlsTest, PushFollowsTheServerOfAHostsTomlAlsoInTheClear) {
  WriteHosts("127.0.0.2:1", "server = \"" + plain_.server().url() + "\"\n");
  options_.tls.ca_file = tls_.ca_file();
  const Status pushed = Push("127.0.0.2:1");
  EXPECT_TRUE(pushed.has_value()) << pushed.error().context;
}

TEST_F(EndpointTlsTest, WhatIsBlockedIsNotPushedTo) {
  options_.registries_conf = {directory_.Write(
      "registries.conf",
      "[[registry]]\nlocation = \"" + plain_.authority() + "\"\nblocked = true\n")};
  const Status pushed = Push(plain_.authority());
  ASSERT_FALSE(pushed.has_value());
  EXPECT_EQ(pushed.error().code, ErrorCode::kPermission);
}

}  // namespace
}  // namespace layerfs

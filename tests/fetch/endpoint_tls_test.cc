// SPDX-License-Identifier: Apache-2.0
// With which TLS settings registries and mirrors are spoken to: those of the options, of
// hosts.toml, of certificate directories and of registries.conf.
#include <gmock/gmock.h>

#include "fetch/registry_store.h"
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

}  // namespace
}  // namespace layerfs

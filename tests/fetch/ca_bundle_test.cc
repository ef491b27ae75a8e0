// SPDX-License-Identifier: Apache-2.0
#include "fetch/ca_bundle.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "fetch/http_client.h"
#include "tests/fetch/fake_server.h"
#include "tests/fetch/temp_dir.h"
#include "tests/fetch/test_tls.h"

namespace layerfs {
namespace {

constexpr char kPem[] = "-----BEGIN CERTIFICATE-----\n";

class CaBundleTest : public testing::Test {
 protected:
  CaBundleTest() {
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
  }
  ~CaBundleTest() override {
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
  }

  CaBundle Open(const std::vector<std::string>& extra = {}) const {
    auto bundle = CaBundle::Open({file_, directory_ / ""}, extra);
    EXPECT_TRUE(bundle.has_value());
    return bundle.has_value() ? std::move(*bundle) : CaBundle();
  }

  const TempDir directory_;
  const std::string file_ = directory_.Write("bundle.pem", kPem);
};

TEST_F(CaBundleTest, ADirectoryWithoutHashNamesIsNoStore) {
  directory_.Write("some-authority.pem", kPem);
  EXPECT_EQ(Open().file(), file_);
  EXPECT_EQ(Open().directory(), "");
}

TEST_F(CaBundleTest, AHashedDirectoryIsTakenInTheFilesPlace) {
  directory_.Write("5ed36f99.0", kPem);
  EXPECT_EQ(Open().file(), "");
  EXPECT_EQ(Open().directory(), directory_ / "");
}

TEST_F(CaBundleTest, AFileThatWasChangedByHandCounts) {
  directory_.Write("5ed36f99.0", kPem);
  for (const std::string& changed : {std::string(kPem) + kPem, std::string()}) {
    directory_.Write("bundle.pem", changed);
    EXPECT_EQ(Open().file(), file_);
    EXPECT_EQ(Open().directory(), "");
  }
  directory_.Write("bundle.pem", std::string(kPem) + kPem);
  directory_.Write("5ed36f99.1", kPem);
  EXPECT_EQ(Open().directory(), directory_ / "");
}

TEST_F(CaBundleTest, TheEnvironmentComesFirst) {
  directory_.Write("5ed36f99.0", kPem);
  setenv("SSL_CERT_FILE", "/elsewhere.pem", 1);
  EXPECT_EQ(Open().file(), "/elsewhere.pem");
  EXPECT_EQ(Open().directory(), "");
  unsetenv("SSL_CERT_FILE");
  setenv("SSL_CERT_DIR", "/elsewhere", 1);
  EXPECT_EQ(Open().file(), file_);
  EXPECT_EQ(Open().directory(), "/elsewhere");
}

TEST_F(CaBundleTest, TheUsersAuthoritiesComeBesides) {
  directory_.Write("5ed36f99.0", kPem);
  const TempDir elsewhere;
  const std::string extra = elsewhere.Write("extra.pem", std::string(kPem) + "extra");
  const CaBundle bundle = Open({extra});
  EXPECT_EQ(bundle.directory(), directory_ / "");
  const auto content = ReadFile(bundle.file(), 1000);
  ASSERT_TRUE(content.has_value());
  EXPECT_TRUE(AsText(*content).contains("extra"));
}

// As openssl-rehash(1) makes it.
void AddHashName(const std::string& directory, const std::string& pem) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(pem.c_str(), "r"),
                                                             &std::fclose);
  ASSERT_NE(file, nullptr);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(
      PEM_read_X509(file.get(), nullptr, nullptr, nullptr), &X509_free);
  ASSERT_NE(certificate, nullptr);
  char name[16];
  std::snprintf(name, sizeof name, "%08lx.0", X509_subject_name_hash(certificate.get()));
  std::filesystem::copy_file(pem, directory + name);
}

TEST_F(CaBundleTest, AServerIsTrustedByADirectory) {
  TestTls tls;
  FakeServer server([](const FakeRequest&) { return FakeResponse{}; }, {.tls = &tls});
  const auto get = [&](const SystemCertificates& system) {
    auto client = HttpClient::Create({});
    auto made = HttpTls::Make(system, {});
    EXPECT_TRUE(client.has_value() && made.has_value());
    HttpRequest request{.url = server.url()};
    request.tls = *made;
    std::promise<Status> done;
    (*client)->Start(std::move(request),
                     {.on_done = [&](const HttpResult& result) { done.set_value(result.status); }});
    return done.get_future().get();
  };
  AddHashName(directory_ / "", tls.ca_file());
  const Status trusted = get({file_, directory_ / ""});
  EXPECT_TRUE(trusted.has_value()) << trusted.error().context;
  const TempDir other;
  other.Write("5ed36f99.0", kPem);
  EXPECT_FALSE(get({"", other / ""}).has_value());
}

}  // namespace
}  // namespace layerfs

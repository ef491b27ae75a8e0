// SPDX-License-Identifier: Apache-2.0
// The registry client against the registry that everybody runs. Skipped where docker-registry is
// not installed.
#include "tests/fetch/real_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fetch/image_store.h"
#include "fetch/registry_client.h"
#include "tests/fetch/registry_testing.h"
#include "tests/fetch/transfer_log.h"

namespace layerfs {
namespace {

// Plain, and over TLS, where Go's server speaks HTTP/2.
class RealRegistryTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!RealRegistry::Available()) GTEST_SKIP() << "needs docker-registry";
    StoreOptions options{.auth_file = directory_.Write("auth.json", "{}")};
    if (GetParam()) {
      tls_ = std::make_unique<TestTls>();
      options.tls.ca_file = tls_->ca_file();
    }
    registry_ = std::make_unique<RealRegistry>(tls_.get());
    ASSERT_TRUE(registry_->running());
    stores_ = std::make_unique<ImageStores>(options);
    options_ = options;
  }
  ImageReference Reference(const std::string& tail) const {
    return *ImageReference::Parse("docker://" + registry_->authority() + "/" + tail);
  }
  std::shared_ptr<ImageReader> Reader(const std::string& tail) {
    return *stores_->OpenReader(Reference(tail));
  }
  std::shared_ptr<ImageWriter> Writer(const std::string& tail) {
    return *stores_->OpenWriter(Reference(tail));
  }
  Descriptor Put(ImageWriter& writer, const std::string& content, const std::string& type) {
    const UniqueFd fd = *OpenFile(directory_.Write("blob", content), O_RDONLY);
    Descriptor descriptor;
    descriptor.media_type = type;
    descriptor.digest = Digest::Of(AsBytes(content));
    descriptor.size = content.size();
    const Status written = writer.WriteBlob(descriptor.digest, descriptor.size, fd.get(), nullptr);
    EXPECT_TRUE(written.has_value()) << written.error().context;
    return descriptor;
  }
  // An image of one layer.
  RawDocument PutImage(ImageWriter& writer, const std::string& layer) {
    Manifest manifest;
    manifest.media_type = media_type::kOciManifest;
    manifest.config =
        Put(writer, R"({"os":"linux","architecture":"amd64"})", media_type::kOciConfig);
    manifest.layers.push_back(Put(writer, layer, media_type::kOciLayerTar));
    Bytes raw = manifest.Encode();
    const Digest digest = Digest::Of(raw);
    return {std::move(raw), manifest.media_type, digest};
  }

  TempDir directory_;
  StoreOptions options_;
  std::unique_ptr<TestTls> tls_;
  std::unique_ptr<RealRegistry> registry_;
  std::unique_ptr<ImageStores> stores_;
};

TEST_P(RealRegistryTest, WhatIsPushedIsPulled) {
  const auto writer = Writer("app:v1");
  const std::string layer = Pattern(6'000'000);
  const RawDocument image = PutImage(*writer, layer);
  const Status written = writer->WriteRoot(image);
  ASSERT_TRUE(written.has_value()) << written.error().context;

  const auto reader = Reader("app:v1");
  const auto root = reader->ReadRoot();
  ASSERT_TRUE(root.has_value()) << root.error().context;
  EXPECT_EQ(root->raw, image.raw);
  EXPECT_EQ(root->digest, image.digest);
  const Manifest manifest = *Manifest::Parse(root->raw);
  std::string got;
  const Status read = reader->ReadBlob(manifest.layers[0], [&](ByteSpan data) {
    got += AsText(data);
    return Status();
  });
  ASSERT_TRUE(read.has_value()) << read.error().context;
  EXPECT_EQ(got, layer);
  EXPECT_TRUE(Reader("app@" + image.digest.ToString())->ReadRoot().has_value());
}

TEST_P(RealRegistryTest, RangesAreTheBlobsBytes) {
  const auto writer = Writer("app:v1");
  const std::string layer = Pattern(500'000);
  const Descriptor blob = Put(*writer, layer, media_type::kOciLayerTar);
  const auto source = Reader("app:v1")->blob_source();
  for (const auto& [offset, size] : std::vector<std::pair<uint64_t, uint64_t>>{
           {0, 1}, {0, 500'000}, {499'999, 1}, {1000, 300'000}}) {
    std::string bytes;
    const TransferResult result =
        FetchRange(*source, {blob.digest, blob.size, offset, size}, &bytes);
    ASSERT_TRUE(result.status.has_value()) << result.status.error().context;
    EXPECT_EQ(bytes, layer.substr(offset, size));
    EXPECT_EQ(result.body_bytes, size);
  }
}

TEST_P(RealRegistryTest, BlobsAreFoundAndMountedAcrossRepositories) {
  const auto writer = Writer("one:v1");
  const Descriptor blob = Put(*writer, Pattern(10'000), media_type::kOciLayerTar);
  const auto other = Writer("two:v1");
  EXPECT_TRUE(*writer->HasBlob(blob.digest, blob.size));
  EXPECT_FALSE(*other->HasBlob(blob.digest, blob.size));
  EXPECT_TRUE(*other->MountBlob(blob.digest, "one"));
  EXPECT_TRUE(*other->HasBlob(blob.digest, blob.size));
  EXPECT_FALSE(*other->MountBlob(Digest::Of(AsBytes("nowhere")), "one"));
}

TEST_P(RealRegistryTest, AnEmptyBlobCanBePushedAndRead) {
  const auto writer = Writer("app:v1");
  const Descriptor blob = Put(*writer, "", media_type::kOciLayerTar);
  EXPECT_TRUE(Reader("app:v1")->ReadBlob(blob, [](ByteSpan) { return Status(); }).has_value());
}

TEST_P(RealRegistryTest, WhatIsMissingIsNotFoundAndNamed) {
  const auto root = Reader("app:v1")->ReadRoot();
  ASSERT_FALSE(root.has_value());
  EXPECT_EQ(root.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(root.error().context,
              testing::HasSubstr(registry_->authority() + "/app: manifest v1"));
  EXPECT_THAT(root.error().context, testing::HasSubstr("MANIFEST_UNKNOWN"));
}

TEST_P(RealRegistryTest, TagsAreListedAndReferrersFallBackToTheTag) {
  const auto writer = Writer("app:v1");
  const RawDocument image = PutImage(*writer, "x");
  ASSERT_TRUE(writer->WriteRoot(image).has_value());
  ASSERT_TRUE(Writer("app:v2")->WriteRoot(image).has_value());
  const auto context = *RegistryContext::Create(options_);
  RegistryClient client(context, {.registry = registry_->authority(), .repository = "app"},
                        RegistryAlone(*context, registry_->authority(), "app"));
  EXPECT_THAT(*client.ListTags(10), testing::UnorderedElementsAre("v1", "v2"));
  EXPECT_EQ(client.ListTags(1)->size(), 1U);
  const auto none = client.Referrers(image.digest, "");
  ASSERT_TRUE(none.has_value()) << none.error().context;
  EXPECT_TRUE(none->empty());
  ImageIndex index;
  index.media_type = media_type::kOciIndex;
  Descriptor referrer;
  referrer.media_type = image.media_type;
  referrer.digest = image.digest;
  referrer.size = image.raw.size();
  referrer.artifact_type = "application/x-one";
  index.manifests = {referrer};
  Bytes raw = index.Encode();
  const Digest digest = Digest::Of(raw);
  ASSERT_TRUE(Writer("app:sha256-" + image.digest.Hex())
                  ->WriteRoot({std::move(raw), index.media_type, digest})
                  .has_value());
  EXPECT_EQ(client.Referrers(image.digest, "application/x-one")->size(), 1U);
  EXPECT_EQ(client.Referrers(image.digest, "application/x-other")->size(), 0U);
}

TEST_P(RealRegistryTest, ManyRangesAtOnceAreAllRight) {
  const auto writer = Writer("app:v1");
  const std::string layer = Pattern(4'000'000);
  const Descriptor blob = Put(*writer, layer, media_type::kOciLayerTar);
  const auto source = Reader("app:v1")->blob_source();
  constexpr uint64_t kPiece = 40'000;
  std::vector<std::unique_ptr<TransferLog>> logs;
  for (uint64_t offset = 0; offset < layer.size(); offset += kPiece) {
    logs.push_back(std::make_unique<TransferLog>());
    const auto fetch_class = logs.size() % 4 == 0 ? FetchClass::kDemand : FetchClass::kFill;
    source->Start({blob.digest, blob.size, offset, kPiece}, fetch_class, logs.back()->Sink());
  }
  int new_connections = 0;
  for (size_t i = 0; i < logs.size(); ++i) {
    const TransferResult result = logs[i]->Wait();
    ASSERT_TRUE(result.status.has_value()) << result.status.error().context;
    EXPECT_EQ(logs[i]->bytes(), layer.substr(i * kPiece, kPiece));
    new_connections += result.new_connection ? 1 : 0;
  }
  // Over HTTP/2 they share what is there.
  if (GetParam()) {
    EXPECT_LT(new_connections, 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, RealRegistryTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Tls" : "Plain"; });

}  // namespace
}  // namespace layerfs

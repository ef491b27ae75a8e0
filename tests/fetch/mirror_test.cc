// SPDX-License-Identifier: Apache-2.0
// Reading from mirrors: in order, over what fails, with a memory; against
// scripted servers.
#include <gmock/gmock.h>

#include <filesystem>
#include <thread>

#include "fetch/registry_store.h"
#include "fetch/scheduler.h"
#include "tests/fetch/fake_source.h"
#include "tests/fetch/registry_testing.h"

namespace layerfs {
namespace {

using testing::HasSubstr;

class MirrorTest : public testing::Test {
 protected:
  MirrorTest() {
    for (FakeRegistry* registry : {&mirror_, &origin_}) {
      registry->AddBlob(content_);
      registry->AddManifest("1", "{}", media_type::kOciManifest);
    }
  }
  void TearDown() override {
    if (context_ != nullptr) context_->Shutdown();
  }
  std::shared_ptr<ImageReader> Reader() {
    directory_.Write("certs.d/" + origin_.authority() + "/hosts.toml",
                     "[host.\"" + address_ + "\"]\n" + host_options_);
    auto reader = OpenReader();
    EXPECT_TRUE(reader.has_value()) << reader.error().context;
    return *reader;
  }
  // Of what the test's directory has.
  Result<std::shared_ptr<ImageReader>> OpenReader() {
    auto context =
        RegistryContext::Create(StoreOptions{.hosts_directories = {directory_ / "certs.d"},
                                             .registries_conf = registries_conf_,
                                             .auth_file = directory_.Write("auth.json", "{}")},
                                {.stall_timeout = std::chrono::seconds(20),
                                 .silence_timeout = silence_timeout_,
                                 .clock = &clock_});
    EXPECT_TRUE(context.has_value());
    context_ = *context;
    return MakeRegistryReader(
        context_, ImageReference::Parse("docker://" + origin_.authority() + "/app:1").value());
  }
  TransferResult Fetch(ImageReader& reader, uint64_t offset, uint64_t size, std::string* bytes) {
    return FetchRange(*reader.blob_source(), {digest_, content_.size(), offset, size}, bytes);
  }

  TempDir directory_;
  const std::string content_ = Pattern(100'000);
  const Digest digest_ = Digest::Of(AsBytes(content_));
  FakeRegistry mirror_;
  FakeRegistry origin_;
  std::string address_ = mirror_.server().url();
  std::string host_options_;
  std::vector<std::string> registries_conf_;
  std::chrono::milliseconds silence_timeout_{20'000};
  JumpingClock clock_;
  std::shared_ptr<RegistryContext> context_;
};

TEST_F(MirrorTest, MirrorIsAskedFirstAndToldOfTheRegistry) {
  const auto reader = Reader();
  ASSERT_TRUE(reader->ReadRoot().has_value());
  std::string bytes;
  EXPECT_TRUE(Fetch(*reader, 10, 1000, &bytes).status.has_value());
  EXPECT_EQ(bytes, content_.substr(10, 1000));
  EXPECT_TRUE(origin_.server().requests().empty());
  for (const FakeRequest& request : mirror_.server().requests()) {
    EXPECT_THAT(request.target, HasSubstr("?ns=127.0.0.1"));
  }
}

TEST_F(MirrorTest, MirrorThatOnlyPullsIsNotAskedWhatATagMeans) {
  host_options_ = "capabilities = [\"pull\"]\n";
  const auto reader = Reader();
  ASSERT_TRUE(reader->ReadRoot().has_value());
  EXPECT_TRUE(mirror_.server().requests().empty());
  std::string bytes;
  EXPECT_TRUE(Fetch(*reader, 0, 10, &bytes).status.has_value());
  EXPECT_EQ(mirror_.server().requests().size(), 1U);
}

TEST_F(MirrorTest, MirrorThatIsGoneIsSteppedOverAndLeftOutForAWhile) {
  mirror_.server().Stop();
  const auto reader = Reader();
  ASSERT_TRUE(reader->ReadRoot().has_value());
  std::string bytes;
  EXPECT_TRUE(Fetch(*reader, 5, 500, &bytes).status.has_value());
  EXPECT_EQ(bytes, content_.substr(5, 500));
}

TEST_F(MirrorTest, FailedMirrorIsNotAskedAgainUntilItHasRested) {
  mirror_.Script("GET", "/v2/app/blobs/", {{.status = 503}, {.status = 503}, {.status = 503}});
  const auto reader = Reader();
  for (int i = 0; i < 3; ++i) {
    std::string bytes;
    ASSERT_TRUE(Fetch(*reader, 0, 100, &bytes).status.has_value());
  }
  EXPECT_EQ(mirror_.server().Count("GET", "/v2/app/blobs/"), 1U);
  EXPECT_EQ(origin_.server().Count("GET", "/v2/app/blobs/"), 3U);
  clock_.Advance(EndpointHealth::kFirstRest);
  std::string bytes;
  ASSERT_TRUE(Fetch(*reader, 0, 100, &bytes).status.has_value());
  EXPECT_EQ(mirror_.server().Count("GET", "/v2/app/blobs/"), 2U) << "it is probed";
}

TEST_F(MirrorTest, MirrorWithoutTheBlobIsSteppedOver) {
  mirror_.Script("GET", "/v2/app/blobs/", {{.status = 404}});
  const auto reader = Reader();
  std::string bytes;
  ASSERT_TRUE(Fetch(*reader, 0, 100, &bytes).status.has_value());
  EXPECT_EQ(bytes, content_.substr(0, 100));
}

TEST_F(MirrorTest, BodyThatIsCutShortSendsTheNextRangeElsewhere) {
  FakeResponse cut;
  cut.status = 206;
  cut.headers = {{"Content-Range", "bytes 0-999/100000"}};
  cut.body = content_.substr(0, 1000);
  cut.cut_after = 100;
  mirror_.Script("GET", "/v2/app/blobs/", {cut});
  const auto reader = Reader();
  std::string bytes;
  const TransferResult result = Fetch(*reader, 0, 1000, &bytes);
  ASSERT_FALSE(result.status.has_value());
  EXPECT_TRUE(result.status.error().retryable);
  bytes.clear();
  ASSERT_TRUE(Fetch(*reader, 0, 1000, &bytes).status.has_value());
  EXPECT_EQ(origin_.server().Count("GET", "/v2/app/blobs/"), 1U);
}

TEST_F(MirrorTest, ManifestOfWrongBytesIsFetchedElsewhere) {
  const Digest right = origin_.AddManifest("2", "{\"a\":1}", media_type::kOciManifest);
  mirror_.Script("GET", "/v2/app/manifests/" + right.ToString(),
                 {{.status = 200,
                   .headers = {{"Content-Type", media_type::kOciManifest}},
                   .body = "{\"a\":2}"}});
  const auto reader = Reader();
  Descriptor descriptor;
  descriptor.media_type = media_type::kOciManifest;
  descriptor.digest = right;
  descriptor.size = 7;
  const auto manifest = reader->ReadManifest(descriptor);
  ASSERT_TRUE(manifest.has_value()) << manifest.error().context;
  EXPECT_EQ(AsText(manifest->raw), "{\"a\":1}");
}

TEST_F(MirrorTest, ChunkOfWrongBytesIsFetchedElsewhere) {
  ChunkRequest request;
  TestBlob blob = TestBlob::OfChunks(1, 5000);
  const Digest digest = origin_.AddBlob(std::string(AsText(blob.bytes)));
  FakeResponse wrong;
  wrong.status = 206;
  wrong.headers = {{"Content-Range", "bytes 0-" + std::to_string(blob.bytes.size() - 1) + "/" +
                                         std::to_string(blob.bytes.size())}};
  wrong.body = std::string(blob.bytes.size(), 'x');
  mirror_.Script("GET", "/v2/app/blobs/" + digest.ToString(), {wrong, wrong, wrong, wrong});
  const auto reader = Reader();
  {
    Scheduler scheduler(Scheduler::Options{});
    auto source = std::make_shared<SourceBlob>();
    source->source = reader->blob_source();
    source->digest = digest;
    source->size = blob.bytes.size();
    request.blob = source;
    request.chunk = blob.chunks[0];
    const auto got = scheduler.FetchAndWait(std::move(request));
    ASSERT_TRUE(got.has_value()) << got.error().context;
    EXPECT_EQ(**got, blob.contents[0]);
  }
  EXPECT_EQ(mirror_.server().Count("GET", "/v2/app/blobs/"), 1U);
}

TEST_F(MirrorTest, MirrorIsLeftOutWhileItsWrongAnswerIsStillComing) {
  FakeResponse slow;
  slow.status = 206;
  slow.headers = {{"Content-Range", "bytes 0-999/100000"}};
  slow.body = std::string(1000, 'x');
  slow.stall_after = 500;
  mirror_.Script("GET", "/v2/app/blobs/", {slow, slow});
  const auto reader = Reader();
  TransferLog first;
  const auto id = reader->blob_source()->Start({digest_, content_.size(), 0, 1000},
                                               FetchClass::kDemand, first.Sink());
  while (first.bytes().empty()) std::this_thread::yield();
  reader->blob_source()->Distrust({digest_, content_.size(), 0, 400});
  std::string bytes;
  ASSERT_TRUE(Fetch(*reader, 0, 400, &bytes).status.has_value());
  EXPECT_EQ(bytes, content_.substr(0, 400));
  EXPECT_EQ(mirror_.server().Count("GET", "/v2/app/blobs/"), 1U);
  reader->blob_source()->Cancel(id);
  EXPECT_FALSE(first.Wait().status.has_value());
}

TEST_F(MirrorTest, RangeAskedForAgainWhileItsAnswerIsOutGoesToAnother) {
  FakeResponse slow;
  slow.stall_after = 0;
  slow.status = 206;
  slow.delay = std::chrono::seconds(30);
  mirror_.Script("GET", "/v2/app/blobs/", {slow});
  const auto reader = Reader();
  TransferLog first;
  const BlobRange range{digest_, content_.size(), 0, 100};
  const auto id = reader->blob_source()->Start(range, FetchClass::kDemand, first.Sink());
  std::string bytes;
  EXPECT_TRUE(FetchRange(*reader->blob_source(), range, &bytes).status.has_value());
  EXPECT_EQ(bytes, content_.substr(0, 100));
  EXPECT_EQ(origin_.server().Count("GET", "/v2/app/blobs/"), 1U);
  reader->blob_source()->Cancel(id);
  EXPECT_FALSE(first.Wait().status.has_value());
}

TEST_F(MirrorTest, MirrorThatSaysNothingIsSteppedOverAndLeftOutForAWhile) {
  FakeResponse silent;
  silent.delay = std::chrono::seconds(15);
  mirror_.Script("GET", "/v2/app/", {silent, silent, silent});
  silence_timeout_ = std::chrono::milliseconds(300);
  const auto reader = Reader();
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(reader->ReadRoot().has_value());
  clock_.Advance(EndpointHealth::kFirstRest);
  for (uint64_t offset = 0; offset < 1000; offset += 100) {
    std::string bytes;
    EXPECT_TRUE(Fetch(*reader, offset, 100, &bytes).status.has_value());
    EXPECT_EQ(bytes, content_.substr(offset, 100));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
  EXPECT_EQ(mirror_.server().Count("GET", "/v2/app/blobs/"), 1U);
  EXPECT_EQ(origin_.server().Count("GET", "/v2/app/blobs/"), 10U);
}

TEST_F(MirrorTest, MirrorThatCreepsIsLeftOutOnceAnotherWasFaster) {
  FakeResponse creeping;
  creeping.status = 206;
  creeping.headers = {{"Content-Range", "bytes 0-999/100000"}};
  creeping.body = content_.substr(0, 1000);
  creeping.piece_bytes = 1;
  creeping.piece_delay = std::chrono::milliseconds(20);
  mirror_.Script("GET", "/v2/app/blobs/", {creeping, creeping});
  const auto reader = Reader();
  TransferLog first;
  BlobRange range{digest_, content_.size(), 0, 1000};
  const auto id = reader->blob_source()->Start(range, FetchClass::kDemand, first.Sink());
  while (first.bytes().empty()) std::this_thread::yield();
  clock_.Advance(std::chrono::seconds(3));
  range.hedge = true;
  std::string bytes;
  EXPECT_TRUE(FetchRange(*reader->blob_source(), range, &bytes).status.has_value());
  EXPECT_EQ(bytes, content_.substr(0, 1000));
  EXPECT_TRUE(Fetch(*reader, 5000, 100, &bytes).status.has_value());
  EXPECT_EQ(origin_.server().Count("GET", "/v2/app/blobs/"), 2U);
  EXPECT_EQ(mirror_.server().Count("GET", "/v2/app/blobs/"), 1U);
  reader->blob_source()->Cancel(id);
  EXPECT_FALSE(first.Wait().status.has_value());
}

TEST_F(MirrorTest, DirectoryWithoutAHostsTomlLeavesRegistriesConfsMirrors) {
  std::filesystem::create_directories(directory_ / ("certs.d/" + origin_.authority()));
  registries_conf_ = {directory_.Write("registries.conf", "[[registry]]\nlocation = \"" +
                                                              origin_.authority() +
                                                              "\"\n[[registry.mirror]]\n"
                                                              "location = \"" +
                                                              mirror_.authority() + "\"\n")};
  const auto reader = OpenReader();
  ASSERT_TRUE(reader.has_value()) << reader.error().context;
  ASSERT_TRUE((*reader)->ReadRoot().has_value());
  EXPECT_TRUE(origin_.server().requests().empty());
}

TEST_F(MirrorTest, HostsTomlLiftsNoBlock) {
  directory_.Write("certs.d/_default/hosts.toml", "[host.\"" + address_ + "\"]\n");
  registries_conf_ = {directory_.Write(
      "registries.conf",
      "[[registry]]\nlocation = \"" + origin_.authority() + "\"\nblocked = true\n")};
  const auto reader = OpenReader();
  ASSERT_FALSE(reader.has_value());
  EXPECT_EQ(reader.error().code, ErrorCode::kPermission);
}

TEST_F(MirrorTest, HeadersAndUnixSocketsReachTheMirror) {
  TempDir sockets;
  FakeRegistry peer(FakeServer::Options{.unix_path = sockets / "peer.sock"});
  peer.AddBlob(content_);
  address_ = "unix://" + (sockets / "peer.sock");
  host_options_ = "[host.\"" + address_ + "\".header]\nx-team = \"build\"\n";
  const auto reader = Reader();
  std::string bytes;
  ASSERT_TRUE(Fetch(*reader, 0, 100, &bytes).status.has_value());
  ASSERT_EQ(peer.server().requests().size(), 1U);
  EXPECT_EQ(peer.server().requests()[0].headers.Get("x-team"), "build");
  EXPECT_TRUE(origin_.server().requests().empty());
}

}  // namespace
}  // namespace layerfs

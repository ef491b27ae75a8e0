// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_upload.h"

#include <gmock/gmock.h>

#include "tests/fetch/registry_testing.h"

namespace layerfs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class RegistryUpload : public RegistryTest {
 protected:
  Status Upload(const std::string& content, std::vector<uint64_t>* progress = nullptr) {
    const UniqueFd fd = *OpenFile(directory_.Write("blob", content), O_RDONLY);
    RegistryClient client = Client(true);
    return UploadBlob(client, Digest::Of(AsBytes(content)), content.size(), fd.get(),
                      [&](uint64_t sent) {
                        if (progress != nullptr) progress->push_back(sent);
                      });
  }
  const std::string content_ = Pattern(500'000);
  const Digest digest_ = Digest::Of(AsBytes(content_));
};

TEST_F(RegistryUpload, IsOnePostAndOnePut) {
  std::vector<uint64_t> progress;
  const Status sent = Upload(content_, &progress);
  ASSERT_TRUE(sent.has_value()) << sent.error().context;
  EXPECT_EQ(registry_.Blob(digest_), content_);
  EXPECT_THAT(
      registry_.server().lines(),
      ElementsAre("POST /v2/app/blobs/uploads/",
                  "PUT /v2/app/blobs/uploads/u1?_state=a%3D&digest=sha256%3A" + digest_.Hex()));
  EXPECT_EQ(progress.back(), content_.size());
  EXPECT_TRUE(std::is_sorted(progress.begin(), progress.end()));
}

TEST_F(RegistryUpload, AnAbsoluteLocationIsTaken) {
  registry_.AbsoluteLocations();
  registry_.RequireBearer({});
  EXPECT_TRUE(Upload(content_).has_value());
  EXPECT_EQ(registry_.Blob(digest_), content_);
}

TEST_F(RegistryUpload, AnEmptyBlobIsUploaded) {
  EXPECT_TRUE(Upload("").has_value());
  EXPECT_EQ(registry_.Blob(Digest::Of({})), "");
}

TEST_F(RegistryUpload, FallsBackToChunksWhereAMonolithicPutIsRefused) {
  for (const int status : {405, 413, 501}) {
    registry_.RefuseMonolithic(status);
    const std::string content = Pattern(100'000, static_cast<uint32_t>(status));
    const Status sent = Upload(content);
    ASSERT_TRUE(sent.has_value()) << sent.error().context;
    EXPECT_EQ(registry_.Blob(Digest::Of(AsBytes(content))), content);
  }
  EXPECT_EQ(registry_.server().Count("PATCH", ""), 3U);
  // The refused sessions are given back.
  EXPECT_EQ(registry_.server().Count("DELETE", ""), 3U);
}

TEST_F(RegistryUpload, PassingTroubleStartsANewSession) {
  registry_.Script("PUT", "/v2/app/blobs/uploads/", {{.status = 503}, {.status = 502}});
  registry_.Script("POST", "/v2/app/blobs/uploads/", {{.status = 500}});
  std::vector<uint64_t> progress;
  const Status sent = Upload(content_, &progress);
  ASSERT_TRUE(sent.has_value()) << sent.error().context;
  EXPECT_EQ(registry_.Blob(digest_), content_);
  EXPECT_TRUE(std::is_sorted(progress.begin(), progress.end()));
  EXPECT_EQ(registry_.server().Count("DELETE", ""), 2U);
}

TEST_F(RegistryUpload, TheTokenMayRunOutBetweenPostAndPut) {
  registry_.RequireBearer({});
  registry_.Script("PUT", "/v2/app/blobs/uploads/",
                   {{.status = 401,
                     .headers = {{"WWW-Authenticate",
                                  "Bearer realm=\"" + registry_.server().url() + "/token\""}}}});
  const Status sent = Upload(content_);
  ASSERT_TRUE(sent.has_value()) << sent.error().context;
  EXPECT_EQ(registry_.Blob(digest_), content_);
  EXPECT_EQ(registry_.server().Count("PUT", ""), 2U);
}

TEST_F(RegistryUpload, ALargeBodyIsNotSentToARegistryThatSaysNoFirst) {
  const std::string content = Pattern(3'000'000);
  registry_.Script("PUT", "/v2/app/blobs/uploads/", {{.status = 503}});
  const Status sent = Upload(content);
  ASSERT_TRUE(sent.has_value()) << sent.error().context;
  EXPECT_EQ(registry_.Blob(Digest::Of(AsBytes(content))), content);
  const auto requests = registry_.server().requests();
  EXPECT_EQ(requests[1].method, "PUT");
  EXPECT_EQ(requests[1].body, "");
}

TEST_F(RegistryUpload, ARegistryThatSaysNoSaysWhyAndForWhichBlob) {
  registry_.Script(
      "POST", "/v2/app/blobs/uploads/",
      {{.status = 403, .body = R"({"errors":[{"code":"DENIED","message":"quota"}]})"}});
  const Status sent = Upload(content_);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, ErrorCode::kPermission);
  EXPECT_THAT(sent.error().context,
              StartsWith(registry_.authority() + "/app: upload of blob " + digest_.ToString() +
                         ": HTTP 403: DENIED: quota; log in with"));
  EXPECT_EQ(registry_.server().requests().size(), 1U);
}

TEST_F(RegistryUpload, ABlobThatIsNotItsDigestIsRefusedByTheRegistry) {
  const UniqueFd fd = *OpenFile(directory_.Write("blob", "right"), O_RDONLY);
  RegistryClient client = Client(true);
  const Status sent = UploadBlob(client, Digest::Of(AsBytes("wrong")), 5, fd.get(), nullptr);
  ASSERT_FALSE(sent.has_value());
  EXPECT_THAT(sent.error().context, HasSubstr("DIGEST_INVALID"));
}

TEST_F(RegistryUpload, AMountTakesNoBytes) {
  const Digest digest = registry_.AddBlob(content_);
  RegistryClient client = Client(true);
  EXPECT_TRUE(*MountBlob(client, digest, "from"));
  EXPECT_EQ(registry_.server().requests().size(), 1U);
}

TEST_F(RegistryUpload, AMountThatBecomesASessionIsGivenBack) {
  const Digest digest = registry_.AddBlob(content_);
  RegistryClient client = Client(true);
  EXPECT_FALSE(*MountBlob(client, digest, "elsewhere"));
  EXPECT_THAT(registry_.server().lines(), ElementsAre(StartsWith("POST "), StartsWith("DELETE ")));
}

TEST_F(RegistryUpload, AMountAsksForBothRepositories) {
  registry_.RequireBearer({});
  const Digest digest = registry_.AddBlob(content_);
  RegistryClient client = Client(true);
  EXPECT_TRUE(*MountBlob(client, digest, "from"));
  EXPECT_THAT(registry_.server().lines()[1],
              HasSubstr("scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Afrom%3Apull"));
}

TEST_F(RegistryUpload, AMountThatIsNotAllowedIsNoError) {
  registry_.Script("POST", "/v2/app/blobs/uploads/", {{.status = 403}});
  RegistryClient client = Client(true);
  const auto mounted = MountBlob(client, digest_, "secret");
  ASSERT_TRUE(mounted.has_value());
  EXPECT_FALSE(*mounted);
}

TEST_F(RegistryUpload, AManifestThatIsStoredAsAnotherIsAnError) {
  registry_.Script("PUT", "/v2/app/manifests/",
                   {{.status = 201, .headers = {{"Docker-Content-Digest", digest_.ToString()}}}});
  RegistryClient client = Client(true);
  const Status put =
      client.PutManifest("v1", {Bytes{'{', '}'}, media_type::kOciIndex, Digest::Of({})});
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code, ErrorCode::kDigestMismatch);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Documents and whole blobs: retries until the deadline, resuming, and what is never retried.
#include <gmock/gmock.h>

#include "tests/fetch/registry_testing.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr char kManifest[] = R"({"schemaVersion":2,"manifests":[]})";

class RegistryClientTest : public RegistryTest {
 protected:
  Result<RawDocument> Get(const std::string& name = "v1",
                          const std::optional<Digest>& pin = std::nullopt) {
    RegistryClient client = Client();
    return client.GetManifest(name, pin);
  }
};

TEST_F(RegistryClientTest, AManifestComesWithItsTypeAndDigest) {
  const Digest digest = registry_.AddManifest("v1", kManifest, media_type::kOciIndex);
  const auto document = Get();
  ASSERT_TRUE(document.has_value()) << document.error().context;
  EXPECT_EQ(document->digest, digest);
  EXPECT_EQ(document->media_type, media_type::kOciIndex);
  const std::string accept(registry_.server().requests()[0].headers.Get("Accept"));
  for (const char* type : {media_type::kOciIndex, media_type::kOciManifest, media_type::kDockerList,
                           media_type::kDockerManifest}) {
    EXPECT_THAT(accept, HasSubstr(type));
  }
}

TEST_F(RegistryClientTest, AContentTypeThatSaysNothingIsNotBelieved) {
  registry_.AddManifest("v1", kManifest, "text/plain; charset=utf-8");
  EXPECT_EQ(Get()->media_type, media_type::kOciIndex);
}

TEST_F(RegistryClientTest, OtherBytesThanThePinnedOnesAreAMismatch) {
  registry_.AddManifest("v1", kManifest, media_type::kOciIndex);
  const auto document = Get("v1", Digest::Of(AsBytes("other")));
  ASSERT_FALSE(document.has_value());
  EXPECT_EQ(document.error().code, ErrorCode::kDigestMismatch);
  EXPECT_THAT(document.error().context, HasSubstr("manifest v1"));
}

// A page of a list of referrers: one of the type `type`.
FakeResponse ReferrersPage(const std::string& type, const std::string& link) {
  const std::string digest = Digest::Of(AsBytes(type + link)).ToString();
  FakeResponse page{.body = R"({"schemaVersion":2,"manifests":[{"mediaType":")" +
                            std::string(media_type::kOciManifest) + R"(","digest":")" + digest +
                            R"(","size":2,"artifactType":")" + type + "\"}]}"};
  page.headers.emplace_back("Content-Type", media_type::kOciIndex);
  if (!link.empty()) page.headers.emplace_back("Link", link);
  return page;
}

TEST_F(RegistryClientTest, ReferrersComeInPages) {
  registry_.Script("GET", "/v2/app/referrers/",
                   {ReferrersPage("a/b", R"(</v2/app/referrers/x?page=2>; rel="next")"),
                    ReferrersPage("c/d", R"(<x?page=3>; rel="next")"), ReferrersPage("a/b", "")});
  const auto found = Client().Referrers(Digest::Of({}), "a/b");
  ASSERT_TRUE(found.has_value()) << found.error().context;
  EXPECT_EQ(found->size(), 2U);
  EXPECT_EQ(registry_.server().Count("GET", "/v2/app/referrers/x?page="), 2U);
}

TEST_F(RegistryClientTest, ReferrersThatLeadRoundInACircleEnd) {
  const FakeResponse page = ReferrersPage("a/b", R"(</v2/app/referrers/x>; rel="next")");
  registry_.Script("GET", "/v2/app/referrers/", std::vector<FakeResponse>(2000, page));
  const auto found = Client().Referrers(Digest::Of({}), "a/b");
  ASSERT_TRUE(found.has_value()) << found.error().context;
  EXPECT_GE(found->size(), 1U);
  EXPECT_LE(registry_.server().requests().size(), 100U);
}

struct Row {
  const char* name;
  std::vector<FakeResponse> answers;
  size_t requests;  // in all
};
std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }
// Whether the row needs the stall limit to pass.
bool Stalls(const Row& row) {
  return std::ranges::any_of(row.answers, [](const auto& a) { return a.stall_after.has_value(); });
}
class PassingTrouble : public RegistryClientTest, public testing::WithParamInterface<Row> {};

TEST_P(PassingTrouble, IsSurvived) {
  registry_.AddManifest("v1", kManifest, media_type::kOciIndex);
  if (Stalls(GetParam())) stall_timeout_ = milliseconds(1'000);
  registry_.Script("GET", "/v2/", GetParam().answers);
  const auto document = Get();
  ASSERT_TRUE(document.has_value()) << document.error().context;
  EXPECT_EQ(AsText(document->raw), kManifest);
  EXPECT_EQ(registry_.server().requests().size(), GetParam().requests);
}

INSTANTIATE_TEST_SUITE_P(
    Table, PassingTrouble,
    testing::Values(
        Row{"ServerErrorsInABurst",
            {{.status = 500}, {.status = 502}, {.status = 503}, {.status = 504}},
            5},
        Row{"TooManyRequestsInSeconds", {{.status = 429, .headers = {{"Retry-After", "10"}}}}, 2},
        Row{"TooManyRequestsTwice",
            {{.status = 429, .headers = {{"Retry-After", "1"}}}, {.status = 429}},
            3},
        Row{"NoAnswer", {{.close_without_answer = true}}, 2},
        Row{"CutBody", {{.body = kManifest, .cut_after = 5}}, 2},
        Row{"Stall", {{.body = kManifest, .stall_after = 5}}, 2},
        Row{"ClosesIdleConnections", {{.body = kManifest, .close_after = true}}, 1}),
    [](const auto& info) { return info.param.name; });

TEST_F(RegistryClientTest, ADateInRetryAfterIsWaitedFor) {
  registry_.AddManifest("v1", kManifest, media_type::kOciIndex);
  const time_t later = time(nullptr) + 30;
  char date[64];
  strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&later));
  registry_.Script("GET", "/v2/", {{.status = 503, .headers = {{"Retry-After", date}}}});
  const TimePoint before = clock_.Now();
  EXPECT_TRUE(Get().has_value());
  EXPECT_GE(clock_.Now() - before, milliseconds(28'000));
}

TEST_F(RegistryClientTest, TroubleThatStaysEndsAtTheDeadlineWithWhatTheServerSaid) {
  registry_.Script(
      "GET", "/v2/",
      std::vector<FakeResponse>(
          2000,
          {.status = 503, .body = R"({"errors":[{"code":"X","message":"no \u001b[31mroom"}]})"}));
  const TimePoint before = clock_.Now();
  const auto document = Get();
  ASSERT_FALSE(document.has_value());
  EXPECT_LE(clock_.Now() - before, milliseconds(60'000));
  EXPECT_GE(clock_.Now() - before, milliseconds(30'000));
  EXPECT_LT(registry_.server().requests().size(), 40U);
  EXPECT_EQ(document.error().context,
            registry_.authority() + "/app: manifest v1: HTTP 503: X: no  [31mroom");
}

TEST_F(RegistryClientTest, ARetryAfterBeyondTheDeadlineIsNotWaitedFor) {
  registry_.Script("GET", "/v2/", {{.status = 429, .headers = {{"Retry-After", "3600"}}}});
  const TimePoint before = clock_.Now();
  EXPECT_FALSE(Get().has_value());
  EXPECT_EQ(clock_.Now(), before);
}

TEST_F(RegistryClientTest, WhatCannotGetBetterIsAskedForOnce) {
  EXPECT_EQ(Get().error().code, ErrorCode::kNotFound);
  EXPECT_EQ(registry_.server().requests().size(), 1U);
}

TEST_F(RegistryClientTest, AManifestBeyondTheLimitIsRefusedWithoutReadingItAll) {
  // NOLINTNEXTLINE(bugprone-string-constructor): so long on purpose.
  registry_.Script("GET", "/v2/", {{.body = std::string(10'000'000, ' ')}});
  const auto document = Get();
  ASSERT_FALSE(document.has_value());
  EXPECT_EQ(document.error().code, ErrorCode::kTooLarge);
}

TEST_F(RegistryClientTest, AnHtmlPageIsNotAManifest) {
  registry_.Script("GET", "/v2/", {{.headers = {{"Content-Type", "text/html"}}, .body = "<html>"}});
  EXPECT_EQ(Get().error().code, ErrorCode::kCorrupt);
}

TEST_F(RegistryClientTest, AReaderThatOutlivesItsStoresSaysCancelled) {
  registry_.AddManifest("v1", kManifest, media_type::kOciIndex);
  const Digest blob = registry_.AddBlob("abc");
  auto stores =
      std::make_unique<ImageStores>(StoreOptions{.auth_file = directory_.Write("auth.json", "{}")});
  const auto reader =
      *stores->OpenReader(*ImageReference::Parse("docker://" + registry_.authority() + "/app:v1"));
  ASSERT_TRUE(reader->ReadRoot().has_value());
  stores.reset();
  EXPECT_EQ(reader->ReadRoot().error().code, ErrorCode::kCancelled);
  std::string bytes;
  EXPECT_EQ(FetchRange(*reader->blob_source(), {blob, 3, 0, 1}, &bytes).status.error().code,
            ErrorCode::kCancelled);
}

// Whole blobs.

class WholeBlob : public RegistryClientTest, public testing::WithParamInterface<Row> {
 protected:
  const std::string content_ = Pattern(3'000'000);
};

TEST_P(WholeBlob, ArrivesWholeInSpiteOfTrouble) {
  const Digest digest = registry_.AddBlob(content_);
  if (Stalls(GetParam())) stall_timeout_ = milliseconds(1'000);
  registry_.Script("GET", "/v2/app/blobs/", GetParam().answers);
  std::string got;
  const Status read = ReadBlob(digest, content_.size(), &got);
  ASSERT_TRUE(read.has_value()) << read.error().context;
  EXPECT_EQ(got, content_);
  EXPECT_EQ(registry_.server().requests().size(), GetParam().requests);
}

const std::string& BlobContent() {
  static const std::string content = Pattern(3'000'000);
  return content;
}

INSTANTIATE_TEST_SUITE_P(
    Table, WholeBlob,
    testing::Values(Row{"NoTrouble", {}, 1},
                    Row{"CutAtOnce", {{.body = BlobContent(), .cut_after = 0}}, 2},
                    Row{"CutInTheMiddle", {{.body = BlobContent(), .cut_after = 1'500'000}}, 2},
                    Row{"StallInTheMiddle", {{.body = BlobContent(), .stall_after = 1'500'000}}, 2},
                    Row{"CutAgainAndAgain",
                        {{.body = BlobContent(), .cut_after = 1'000'000},
                         {.status = 503},
                         {.close_without_answer = true},
                         {.status = 206,
                          .headers = {{"Content-Range", "bytes 1000000-2999999/3000000"}},
                          .body = BlobContent().substr(1'000'000),
                          .cut_after = 1'000'000}},
                        5},
                    Row{"WrongRangeOnResuming",
                        {{.body = BlobContent(), .cut_after = 1'000'000},
                         {.status = 206,
                          .headers = {{"Content-Range", "bytes 0-2999999/3000000"}},
                          .body = BlobContent()}},
                        3},
                    Row{"RangeIgnoredOnResuming",
                        {{.body = BlobContent(), .cut_after = 1'000'000}, {.body = BlobContent()}},
                        2},
                    Row{"OtherSize", {{.body = BlobContent() + "x"}}, 2}),
    [](const auto& info) { return info.param.name; });

TEST_F(WholeBlob, ResumingAsksForTheRestOnly) {
  const Digest digest = registry_.AddBlob(content_);
  registry_.Script("GET", "/v2/app/blobs/", {{.body = content_, .cut_after = 1'000'000}});
  std::string got;
  ASSERT_TRUE(ReadBlob(digest, content_.size(), &got).has_value());
  const auto requests = registry_.server().requests();
  EXPECT_FALSE(requests[0].headers.Has("Range"));
  EXPECT_EQ(requests[1].headers.Get("Range"), "bytes=1000000-2999999");
}

TEST_F(WholeBlob, OtherBytesUnderTheDigestAreAMismatch) {
  const Digest digest = registry_.AddBlob(content_);
  std::string wrong = content_;
  wrong[2'000'000] ^= 1;
  registry_.Script("GET", "/v2/app/blobs/", {{.body = wrong}});
  std::string got;
  const Status read = ReadBlob(digest, content_.size(), &got);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::kDigestMismatch);
  EXPECT_THAT(read.error().context, HasSubstr(digest.ToString()));
}

TEST_F(WholeBlob, AReaderThatHasEnoughEndsItWithItsError) {
  const Digest digest = registry_.AddBlob(content_);
  Descriptor descriptor;
  descriptor.digest = digest;
  descriptor.size = content_.size();
  RegistryClient client = Client();
  const Status read = client.ReadBlob(
      descriptor, [](ByteSpan) -> Status { return Fail(ErrorCode::kNoSpace, "the reader's own"); });
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().context, "the reader's own");
}

TEST_F(WholeBlob, ASlowReaderBoundsTheMemory) {
  stall_timeout_ = milliseconds(2'000);
  const std::string big = Pattern(24'000'000);
  const Digest digest = registry_.AddBlob(big);
  Descriptor descriptor;
  descriptor.digest = digest;
  descriptor.size = big.size();
  RegistryClient client = Client();
  uint64_t at = 0;
  const Status read = client.ReadBlob(descriptor, [&](ByteSpan data) -> Status {
    if (AsText(data) != std::string_view(big).substr(at, data.size())) {
      return Fail(ErrorCode::kCorrupt, "wrong bytes at " + std::to_string(at));
    }
    if (at == 0) std::this_thread::sleep_for(milliseconds(3'000));  // beyond the stall limit
    at += data.size();
    return {};
  });
  ASSERT_TRUE(read.has_value()) << read.error().context;
  EXPECT_EQ(at, big.size());
  EXPECT_EQ(registry_.server().requests().size(), 1U);
}

}  // namespace
}  // namespace layerfs

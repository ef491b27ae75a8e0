// SPDX-License-Identifier: Apache-2.0
// Ranges of a registry's blobs, one attempt each: what servers have been seen to answer, and what
// the source makes of it.
#include <gmock/gmock.h>

#include <thread>

#include "tests/fetch/registry_testing.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kOffset = 1000;
constexpr uint64_t kSize = 20'000;
const std::string& Content() {
  static const std::string content = Pattern(100'000);
  return content;
}
std::string Wanted() { return Content().substr(kOffset, kSize); }
std::vector<std::pair<std::string, std::string>> RangeHeaders(const std::string& value) {
  return {{"Content-Range", value}};
}

struct Row {
  const char* name;
  FakeResponse answer;
  bool good = false;
  ErrorCode code = ErrorCode::kNetwork;
  bool retryable = true;
  const char* says = "";
};
std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }

class RangeAnswer : public RegistryTest, public testing::WithParamInterface<Row> {};

TEST_P(RangeAnswer, IsTheRangesBytesOrAnError) {
  const Row& row = GetParam();
  if (row.answer.stall_after) stall_timeout_ = milliseconds(1'000);
  const Digest digest = registry_.AddBlob(Content());
  registry_.Script("GET", "/v2/app/blobs/", {row.answer});
  std::string bytes;
  const TransferResult result =
      FetchRange(*Source(), {digest, Content().size(), kOffset, kSize}, &bytes);
  EXPECT_EQ(registry_.server().requests().size(), 1U);
  EXPECT_EQ(registry_.server().requests()[0].headers.Get("Range"), "bytes=1000-20999");
  EXPECT_EQ(bytes, Wanted().substr(0, bytes.size()));
  if (row.good) {
    EXPECT_TRUE(result.status.has_value()) << result.status.error().context;
    EXPECT_EQ(bytes, Wanted());
    return;
  }
  ASSERT_FALSE(result.status.has_value());
  EXPECT_EQ(result.status.error().code, row.code) << result.status.error().context;
  EXPECT_EQ(result.status.error().retryable, row.retryable);
  EXPECT_THAT(result.status.error().context, HasSubstr(row.says));
  EXPECT_THAT(result.status.error().context, HasSubstr(digest.ToString() + ": range 1000+20000"));
  EXPECT_THAT(result.status.error().context, HasSubstr(registry_.authority() + "/app"));
}

const char* const kRightRange = "bytes 1000-20999/100000";

INSTANTIATE_TEST_SUITE_P(
    Table, RangeAnswer,
    testing::Values(
        Row{"RightRange",
            {.status = 206, .headers = RangeHeaders(kRightRange), .body = Wanted()},
            true},
        Row{"UnknownTotal",
            {.status = 206, .headers = RangeHeaders("bytes 1000-20999/*"), .body = Wanted()},
            true},
        Row{"WholeBlobInPlaceOfTheRange", {.body = Content()}, true},
        Row{"WholeBlobInSmallPieces",
            {.body = Content(), .piece_bytes = 777, .piece_delay = milliseconds(0)},
            true},
        Row{"WholeBlobCutAfterTheRange", {.body = Content(), .cut_after = kOffset + kSize}, true},
        Row{"MoreThanTheRange",
            {.status = 206,
             .headers = RangeHeaders("bytes 1000-50999/100000"),
             .body = Content().substr(kOffset, 50'000)},
            true},
        Row{"BodyLongerThanItsContentRange",
            {.status = 206,
             .headers = RangeHeaders(kRightRange),
             .body = Content().substr(kOffset)},
            true},
        Row{"AnotherRange",
            {.status = 206, .headers = RangeHeaders("bytes 0-19999/100000"), .body = Wanted()},
            false,
            ErrorCode::kNetwork,
            true,
            "another range"},
        Row{"NoContentRange",
            {.status = 206, .body = Wanted()},
            false,
            ErrorCode::kNetwork,
            true,
            "Content-Range"},
        Row{"SeveralRanges",
            {.status = 206,
             .headers = {{"Content-Type", "multipart/byteranges; boundary=x"}},
             .body = Wanted()},
            false,
            ErrorCode::kNetwork,
            true,
            "Content-Range"},
        Row{"OfABlobOfAnotherSize",
            {.status = 206, .headers = RangeHeaders("bytes 1000-20999/90000"), .body = Wanted()},
            false,
            ErrorCode::kNetwork,
            true,
            "90000"},
        Row{"WholeBlobOfAnotherSize",
            {.body = Content() + "x"},
            false,
            ErrorCode::kNetwork,
            true,
            "100001 bytes"},
        Row{"CompressedOnTheWay",
            {.headers = {{"Content-Encoding", "gzip"}}, .body = Content()},
            false,
            ErrorCode::kNetwork,
            true,
            "encoding"},
        Row{"ShorterThanItsContentRange",
            {.status = 206, .headers = RangeHeaders(kRightRange), .body = Wanted().substr(0, 5)},
            false,
            ErrorCode::kNetwork,
            true,
            "after 5 of 20000"},
        Row{"CutBody",
            {.status = 206,
             .headers = RangeHeaders(kRightRange),
             .body = Wanted(),
             .cut_after = 100},
            false},
        Row{"Stall",
            {.status = 206,
             .headers = RangeHeaders(kRightRange),
             .body = Wanted(),
             .stall_after = 99},
            false,
            ErrorCode::kTimeout},
        Row{"NoAnswer", {.close_without_answer = true}, false},
        Row{"NoContent", {.status = 204}, false, ErrorCode::kNetwork, true, "204"},
        Row{"RangeNotSatisfiable", {.status = 416}, false, ErrorCode::kCorrupt, false, "416"},
        Row{"NotFound",
            {.status = 404, .body = R"({"errors":[{"code":"BLOB_UNKNOWN","message":"gone"}]})"},
            false,
            ErrorCode::kNotFound,
            false,
            "HTTP 404: BLOB_UNKNOWN: gone"},
        Row{"Forbidden", {.status = 403}, false, ErrorCode::kPermission, false, "skopeo login"},
        Row{"TooManyRequests", {.status = 429}, false, ErrorCode::kNetwork, true, "429"},
        Row{"ServerError",
            {.status = 500, .body = "<html>oops"},
            false,
            ErrorCode::kNetwork,
            true,
            "500"},
        Row{"BadGateway", {.status = 502}, false}, Row{"Unavailable", {.status = 503}, false},
        Row{"RedirectToNowhere", {.status = 307}, false, ErrorCode::kNetwork, false, "307"},
        Row{"RedirectToAnotherProtocol",
            {.status = 307, .headers = {{"Location", "file:///etc/passwd"}}},
            false,
            ErrorCode::kNetwork,
            false,
            "leads nowhere"},
        Row{"HugeErrorBody", {.status = 503, .body = std::string(1'000'000, 'x')}, false}),
    [](const auto& info) { return info.param.name; });

class RegistryRange : public RegistryTest {
 protected:
  RegistryRange() : digest_(registry_.AddBlob(Content())) {}
  TransferResult Fetch(BlobSource& source, std::string* bytes) {
    bytes->clear();
    return FetchRange(source, {digest_, Content().size(), kOffset, kSize}, bytes);
  }
  const Digest digest_;
};

TEST_F(RegistryRange, RetryAfterIsHandedOn) {
  registry_.Script("GET", "/v2/app/blobs/",
                   {{.status = 429, .headers = {{"Retry-After", "7"}}}, {.status = 503}});
  std::string bytes;
  const auto source = Source();
  EXPECT_EQ(Fetch(*source, &bytes).retry_after, milliseconds(7000));
  EXPECT_EQ(Fetch(*source, &bytes).retry_after, std::nullopt);
}

TEST_F(RegistryRange, AWholeBlobInPlaceOfTheRangeEndsItWithItsBytes) {
  const std::string big = Pattern(20'000'000, 3);
  const Digest digest = registry_.AddBlob(big);
  registry_.IgnoreRanges();
  std::string bytes;
  const TransferResult result = FetchRange(*Source(), {digest, big.size(), 10, 100}, &bytes);
  ASSERT_TRUE(result.status.has_value());
  EXPECT_EQ(bytes, big.substr(10, 100));
  EXPECT_LT(result.body_bytes, 5'000'000U);
}

TEST_F(RegistryRange, CancelEndsATransferThatWaitsForAToken) {
  registry_.RequireBearer({});
  registry_.Script("GET", "/token", {{.delay = milliseconds(60'000)}});
  TransferLog log;
  const auto source = Source();
  const auto id = source->Start({digest_, Content().size(), 0, 10}, FetchClass::kFill, log.Sink());
  while (registry_.server().Count("GET", "/v2/") == 0) std::this_thread::yield();
  source->Cancel(id);
  EXPECT_EQ(log.Wait().status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(log.done_calls(), 1);
  context_->Shutdown();
  registry_.server().Stop();
}

TEST_F(RegistryRange, ShutdownEndsATransferThatWaitsForAToken) {
  registry_.RequireBearer({});
  registry_.Script("GET", "/token", {{.delay = milliseconds(60'000)}});
  TransferLog log;
  const auto source = Source();
  source->Start({digest_, Content().size(), 0, 10}, FetchClass::kFill, log.Sink());
  while (registry_.server().Count("GET", "/v2/") == 0) std::this_thread::yield();
  context_->Shutdown();
  EXPECT_EQ(log.Wait().status.error().code, ErrorCode::kCancelled);
  registry_.server().Stop();
}

// Redirects.

class RedirectedRange : public RegistryRange {
 protected:
  RedirectedRange() : store_([this](const FakeRequest& request) { return Store(request); }) {
    registry_.RequireBearer({});
    registry_.RedirectBlobs(store_.url() + "/signed-1");
  }
  FakeResponse Store(const FakeRequest& request) {
    return answers_.With([&](std::deque<FakeResponse>& answers) {
      if (answers.empty()) return ServeContent(request, Content());
      FakeResponse answer = answers.front();
      answers.pop_front();
      return answer;
    });
  }
  size_t BlobRequests() { return registry_.server().Count("GET", "/v2/app/blobs/"); }

  void Answer(std::deque<FakeResponse> answers) {
    answers_.With([&](std::deque<FakeResponse>& next) { next = std::move(answers); });
  }

  Synchronized<std::deque<FakeResponse>> answers_;
  FakeServer store_;
};

TEST_F(RedirectedRange, TheObjectStoreNeverSeesTheToken) {
  std::string bytes;
  const TransferResult result = Fetch(*Source(), &bytes);
  ASSERT_TRUE(result.status.has_value()) << result.status.error().context;
  EXPECT_EQ(bytes, Wanted());
  ASSERT_EQ(store_.requests().size(), 1U);
  EXPECT_FALSE(store_.requests()[0].headers.Has("Authorization"));
  EXPECT_EQ(store_.requests()[0].headers.Get("Range"), "bytes=1000-20999");
}

TEST_F(RedirectedRange, TheRedirectIsRemembered) {
  std::string bytes;
  const auto source = Source();
  Fetch(*source, &bytes);
  const size_t before = BlobRequests();
  EXPECT_TRUE(Fetch(*source, &bytes).status.has_value());
  EXPECT_EQ(BlobRequests(), before);
  EXPECT_EQ(store_.requests().size(), 2U);
}

TEST_F(RedirectedRange, AnExpiredRedirectIsAskedForAnew) {
  for (const int status : {400, 401, 403, 404}) {
    std::string bytes;
    const auto source = Source();
    ASSERT_TRUE(Fetch(*source, &bytes).status.has_value());
    const size_t before = BlobRequests();
    registry_.RedirectBlobs(store_.url() + "/signed-again-" + std::to_string(status));
    Answer({{.status = status, .headers = {{"WWW-Authenticate", "Basic realm=\"x\""}}}});
    const TransferResult result = Fetch(*source, &bytes);
    ASSERT_TRUE(result.status.has_value()) << result.status.error().context;
    EXPECT_EQ(bytes, Wanted());
    EXPECT_EQ(BlobRequests(), before + 1);
    EXPECT_THAT(store_.lines().back(), HasSubstr("signed-again-" + std::to_string(status)));
  }
}

TEST_F(RedirectedRange, AStoreInTroubleIsLeftAtTheNextTry) {
  for (const int status : {429, 500, 503}) {
    std::string bytes;
    const auto source = Source();
    ASSERT_TRUE(Fetch(*source, &bytes).status.has_value());
    const size_t before = BlobRequests();
    registry_.RedirectBlobs(store_.url() + "/other-" + std::to_string(status));
    Answer({{.status = status}});
    EXPECT_FALSE(Fetch(*source, &bytes).status.has_value());
    EXPECT_EQ(BlobRequests(), before);
    ASSERT_TRUE(Fetch(*source, &bytes).status.has_value());
    EXPECT_EQ(BlobRequests(), before + 1);
    EXPECT_THAT(store_.lines().back(), HasSubstr("other-" + std::to_string(status)));
  }
}

TEST_F(RedirectedRange, AStoreThatGaveWrongBytesIsLeft) {
  std::string bytes;
  const auto source = Source();
  ASSERT_TRUE(Fetch(*source, &bytes).status.has_value());
  const size_t before = BlobRequests();
  source->Distrust({digest_, Content().size(), 1000, 20000});
  EXPECT_TRUE(Fetch(*source, &bytes).status.has_value());
  EXPECT_EQ(BlobRequests(), before + 1);
}

TEST_F(RedirectedRange, AStoreThatKeepsRefusingIsAnErrorWithoutALoginHintOrSecrets) {
  registry_.RedirectBlobs(store_.url() + "/x?signature=hidden");
  Answer({{.status = 403}, {.status = 403}, {.status = 403}});
  std::string bytes;
  const TransferResult result = Fetch(*Source(), &bytes);
  ASSERT_FALSE(result.status.has_value());
  EXPECT_EQ(store_.requests().size(), 2U);
  EXPECT_TRUE(result.status.error().retryable);
  EXPECT_THAT(result.status.error().context, HasSubstr("403"));
  EXPECT_THAT(result.status.error().context, Not(HasSubstr("login")));
  EXPECT_THAT(result.status.error().context, Not(HasSubstr("hidden")));
}

TEST_F(RedirectedRange, AStoreThatIsGoneIsForgotten) {
  std::string bytes;
  const auto source = Source();
  ASSERT_TRUE(Fetch(*source, &bytes).status.has_value());
  const size_t before = BlobRequests();
  Answer({{.close_without_answer = true}, {.close_without_answer = true}});
  EXPECT_FALSE(Fetch(*source, &bytes).status.has_value());
  Answer({});
  EXPECT_TRUE(Fetch(*source, &bytes).status.has_value());
  EXPECT_EQ(BlobRequests(), before + 1);
}

TEST_F(RegistryRange, ARedirectLoopEnds) {
  const FakeResponse loop{.status = 302, .headers = {{"Location", "/v2/app/blobs/again"}}};
  registry_.Script("GET", "/v2/app/blobs/", std::vector<FakeResponse>(30, loop));
  std::string bytes;
  const TransferResult result = Fetch(*Source(), &bytes);
  ASSERT_FALSE(result.status.has_value());
  EXPECT_THAT(result.status.error().context, HasSubstr("more than 10 redirects"));
  EXPECT_EQ(registry_.server().requests().size(), 11U);
}

TEST_F(RegistryRange, ARedirectOnTheSameServerKeepsTheToken) {
  registry_.RequireBearer({});
  registry_.Script(
      "GET", "/v2/app/blobs/",
      {{.status = 307, .headers = {{"Location", "/v2/app/blobs/" + digest_.ToString() + "?x"}}}});
  std::string bytes;
  const TransferResult result = Fetch(*Source(), &bytes);
  EXPECT_TRUE(result.status.has_value()) << result.status.error().context;
}

// A server that knows no ranges sends the blob, and need not send it twice.
class WholeBlobTest : public RegistryTest {
 protected:
  static constexpr uint64_t kPart = 10'000;
  FakeResponse Whole() const { return {.body = Content()}; }
  BlobRange Part(uint64_t i) const { return {digest_, Content().size(), i * kPart, kPart}; }
  void ExpectPart(BlobSource& source, uint64_t i) {
    std::string bytes;
    const TransferResult result = FetchRange(source, Part(i), &bytes);
    EXPECT_TRUE(result.status.has_value()) << result.status.error().context;
    EXPECT_EQ(bytes, Content().substr(i * kPart, kPart)) << i;
  }
  size_t requests() { return registry_.server().Count("GET", "/v2/app/blobs/"); }
  const Digest digest_ = registry_.AddBlob(Content());
};

TEST_F(WholeBlobTest, ComesOnceForAllRanges) {
  registry_.IgnoreRanges();
  const auto source = Source();
  for (const uint64_t i : {7, 2, 2, 9, 0}) ExpectPart(*source, i);
  EXPECT_EQ(requests(), 1U);
}

TEST_F(WholeBlobTest, RangesThatWaitTogetherGetTheirBytesFromOneAnswer) {
  FakeResponse slow = Whole();
  slow.piece_bytes = 5'000;
  slow.piece_delay = milliseconds(5);
  registry_.IgnoreRanges();
  registry_.Script("GET", "/v2/app/blobs/", {slow});
  const auto source = Source();
  TransferLog logs[10];
  for (uint64_t i = 0; i < 10; ++i) source->Start(Part(9 - i), FetchClass::kFill, logs[i].Sink());
  for (uint64_t i = 0; i < 10; ++i) {
    EXPECT_TRUE(logs[i].Wait().status.has_value());
    EXPECT_EQ(logs[i].bytes(), Content().substr((9 - i) * kPart, kPart));
    EXPECT_EQ(logs[i].done_calls(), 1);
  }
  const size_t before = requests();
  for (uint64_t i = 0; i < 10; ++i) ExpectPart(*source, i);
  EXPECT_EQ(requests(), before) << "what came is kept";
}

TEST_F(WholeBlobTest, RangeThatIsCancelledLeavesTheOthersTheirs) {
  FakeResponse slow = Whole();
  slow.piece_bytes = 5'000;
  slow.piece_delay = milliseconds(20);
  registry_.Script("GET", "/v2/app/blobs/", {slow});
  const auto source = Source();
  TransferLog first;
  TransferLog second;
  const auto id = source->Start(Part(9), FetchClass::kFill, first.Sink());
  source->Start(Part(8), FetchClass::kFill, second.Sink());
  while (requests() == 0) std::this_thread::yield();
  source->Cancel(id);
  EXPECT_EQ(first.Wait().status.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(second.Wait().status.has_value());
  EXPECT_EQ(second.bytes(), Content().substr(8 * kPart, kPart));
}

TEST_F(WholeBlobTest, AnswerThatBreaksIsARetryAndWhatItBroughtStays) {
  FakeResponse cut = Whole();
  cut.cut_after = 45'000;
  registry_.IgnoreRanges();
  registry_.Script("GET", "/v2/app/blobs/", {cut});
  const auto source = Source();
  ExpectPart(*source, 3);
  std::string bytes;
  const TransferResult broken = FetchRange(*source, Part(4), &bytes);
  EXPECT_EQ(bytes, Content().substr(4 * kPart, bytes.size()));
  EXPECT_TRUE(broken.status.has_value() || broken.status.error().retryable);
  for (const uint64_t i : {8, 4, 1}) ExpectPart(*source, i);
  EXPECT_LE(requests(), 2U);
}

TEST_F(WholeBlobTest, WrongBytesAreNotKept) {
  FakeResponse wrong = Whole();
  wrong.body[25'000] ^= 1;
  registry_.IgnoreRanges();
  registry_.Script("GET", "/v2/app/blobs/", {wrong});
  const auto source = Source();
  std::string bytes;
  EXPECT_TRUE(FetchRange(*source, Part(2), &bytes).status.has_value());
  EXPECT_NE(bytes, Content().substr(2 * kPart, kPart));
  source->Distrust(Part(2));
  ExpectPart(*source, 2);
  EXPECT_EQ(requests(), 2U);
}

}  // namespace
}  // namespace layerfs

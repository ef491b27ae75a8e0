// SPDX-License-Identifier: Apache-2.0
// What registries, and what stands between them and us, have been seen to do: each is a row, driven
// against a scripted server through everything that a read goes through: registry client,
// scheduler, verification, cache. The outcome is every byte, or a clear error in time; and no
// secret in the log, which is kept at its most talkative.
#include "tests/fetch/registry_faults.h"

#include <gmock/gmock.h>

#include "tests/fetch/test_tls.h"
#include "tools/netmodel/network_model.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

std::string HttpDate(seconds from_now) {
  const time_t when = time(nullptr) + from_now.count();
  char date[64];
  strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&when));
  return date;
}

// Faults that pass: the first few answers, or every other, or all of them are spoilt in a way that
// leaves the data obtainable.
struct PassingFault {
  const char* name;
  FaultyRegistry::Spoil spoil;
};

FaultyRegistry::Spoil First(int count, const std::function<void(FakeResponse&)>& change) {
  return [count, change](int n, const FakeRequest&, FakeResponse right) {
    if (n <= count) change(right);
    return right;
  };
}
FaultyRegistry::Spoil Always(const std::function<void(FakeResponse&)>& change) {
  return First(1 << 30, change);
}
FaultyRegistry::Spoil InPlace(const std::vector<FakeResponse>& answers) {
  return [answers](int n, const FakeRequest&, const FakeResponse& right) {
    return static_cast<size_t>(n) <= answers.size() ? answers[static_cast<size_t>(n) - 1] : right;
  };
}
void SetHeader(FakeResponse& answer, const std::string& name, const std::string& value) {
  std::erase_if(answer.headers, [&](const auto& header) { return header.first == name; });
  answer.headers.emplace_back(name, value);
}

class PassingFaultTest : public RegistryFaultTest,
                         public testing::WithParamInterface<PassingFault> {};

TEST_P(PassingFaultTest, EveryByteIsRight) {
  registry_->spoil = GetParam().spoil;
  Connect();
  ExpectAllRight();
  ExpectManners();
}

FakeResponse WholeBlob() { return {.body = std::string(AsText(Blob().bytes))}; }
FakeResponse Busy(int status, const std::string& retry_after) {
  return {.status = status, .headers = {{"Retry-After", retry_after}}};
}

INSTANTIATE_TEST_SUITE_P(
    Table, PassingFaultTest,
    testing::Values(
        PassingFault{"None", Always([](FakeResponse&) {})},
        PassingFault{"WholeBlobInPlaceOfEachRange",
                     Always([](FakeResponse& answer) { answer = WholeBlob(); })},
        PassingFault{
            "BodiesCutShort",
            First(6, [](FakeResponse& answer) { answer.cut_after = answer.body.size() / 2; })},
        PassingFault{"EachBodyCutAfterItsFirstChunk", Always([](FakeResponse& answer) {
                       if (answer.body.size() > 2 * kChunkBytes)
                         answer.cut_after = 3 * kChunkBytes / 2;
                     })},
        PassingFault{"LengthLongerThanTheBody", First(3,
                                                      [](FakeResponse& answer) {
                                                        answer.claimed_length =
                                                            answer.body.size() + 1000;
                                                        answer.close_after = true;
                                                      })},
        PassingFault{"ContentRangeOfAnotherOffset",
                     First(3,
                           [](FakeResponse& answer) {
                             SetHeader(answer, "Content-Range",
                                       "bytes 7-" + std::to_string(answer.body.size() + 6) + "/*");
                           })},
        PassingFault{"ContentRangeOfAnotherTotal", First(3,
                                                         [](FakeResponse& answer) {
                                                           SetHeader(answer, "Content-Range",
                                                                     "bytes 0-9/10");
                                                         })},
        PassingFault{"ContentRangeInAnotherUnit", First(3,
                                                        [](FakeResponse& answer) {
                                                          SetHeader(answer, "Content-Range",
                                                                    "pages 0-9/10");
                                                        })},
        PassingFault{"ContentRangeThatIsNone", First(3,
                                                     [](FakeResponse& answer) {
                                                       SetHeader(answer, "Content-Range",
                                                                 "bytes 99999999999999999999-0/-1");
                                                     })},
        PassingFault{"MoreBytesThanAskedFor", Always([](FakeResponse& answer) {
                       answer.body += std::string(100'000, 'x');
                     })},
        PassingFault{"GarbageUnderTheRightHeaders", First(3,
                                                          [](FakeResponse& answer) {
                                                            answer.body = std::string(
                                                                answer.body.size(), 'x');
                                                          })},
        PassingFault{
            "OneBitWrong",
            First(3, [](FakeResponse& answer) { answer.body[answer.body.size() / 2] ^= 1; })},
        PassingFault{"HtmlPageInPlaceOfTheBytes",
                     First(2,
                           [](FakeResponse& answer) {
                             answer = {.body = "<html>Please log in to the hotel's network</html>"};
                           })},
        PassingFault{
            "StallInTheMiddle",
            First(2, [](FakeResponse& answer) { answer.stall_after = answer.body.size() / 3; })},
        PassingFault{"StallBeforeTheFirstByte",
                     First(2, [](FakeResponse& answer) { answer.delay = 3 * kStall; })},
        PassingFault{"TricklesInsteadOfFlowing", First(2,
                                                       [](FakeResponse& answer) {
                                                         answer.piece_bytes = 1;
                                                         answer.piece_delay = milliseconds(10);
                                                       })},
        PassingFault{"TooManyRequestsWithSeconds", InPlace({Busy(429, "1"), Busy(429, "1")})},
        PassingFault{"UnavailableUntilADate", InPlace({Busy(503, HttpDate(seconds(2)))})},
        PassingFault{"RetryAfterThatIsNonsense", InPlace({Busy(503, "soon"), Busy(429, "-5")})},
        PassingFault{"FiveHundredsInABurst", InPlace({{.status = 500},
                                                      {.status = 502},
                                                      {.status = 503},
                                                      {.status = 504},
                                                      {.status = 520}})},
        PassingFault{"OneAnswerAConnection",
                     Always([](FakeResponse& answer) { answer.close_after = true; })},
        PassingFault{"ClosesWithoutAnAnswer",
                     First(3, [](FakeResponse& answer) { answer.close_without_answer = true; })},
        PassingFault{"ChunkedWithoutALength", Always([](FakeResponse& answer) {
                       answer.chunked = true;
                       answer.piece_bytes = 1000;
                     })},
        PassingFault{"BodyThatEndsWithTheConnection",
                     Always([](FakeResponse& answer) { answer.until_close = true; })},
        PassingFault{"ChunkedAndCut", First(3,
                                            [](FakeResponse& answer) {
                                              answer.chunked = true;
                                              answer.cut_after = answer.body.size() / 2;
                                            })},
        PassingFault{
            "GzipForced",
            First(2, [](FakeResponse& answer) { SetHeader(answer, "Content-Encoding", "gzip"); })},
        PassingFault{"VeryLargeHeaders", First(2,
                                               [](FakeResponse& answer) {
                                                 SetHeader(answer, "X-Padding",
                                                           std::string(400'000, 'p'));
                                               })},
        PassingFault{"TenThousandHeaders", First(2,
                                                 [](FakeResponse& answer) {
                                                   for (int i = 0; i < 10'000; ++i) {
                                                     answer.headers.emplace_back(
                                                         "X-" + std::to_string(i), "padding");
                                                   }
                                                 })}),
    [](const auto& info) { return info.param.name; });

TEST_F(RegistryFaultTest, RateLimitIsKeptToAndSurvived) {
  // Three requests in each 300 ms; who asks more often is told to wait.
  auto window = std::chrono::steady_clock::now();
  int in_window = 0;
  int refused = 0;
  registry_->spoil = [&](int, const FakeRequest&, FakeResponse right) {
    const auto now = std::chrono::steady_clock::now();
    if (now - window > milliseconds(300)) {
      window = now;
      in_window = 0;
    }
    if (++in_window <= 3) return right;
    ++refused;
    return Busy(429, "1");
  };
  Connect();
  ExpectAllRight();
  // Nobody hammers a registry that has said how long to wait.
  EXPECT_LT(refused, 20);
}

TEST_F(RegistryFaultTest, WrongBytesForEverAreAMismatchAndNeverServedOrKept) {
  registry_->spoil = Always([](FakeResponse& answer) { answer.body[0] ^= 1; });
  Connect();
  const auto error = ReadAll(seconds(20));
  ASSERT_TRUE(error.has_value());
  EXPECT_TRUE(error->code == ErrorCode::kDigestMismatch || error->code == ErrorCode::kCorrupt);
  EXPECT_FALSE(object_->Contains(0, kChunkBytes));
  EXPECT_THAT(error->context, HasSubstr("file /bin/app"));
  EXPECT_THAT(error->context, HasSubstr(blob_->digest.ToString()));
}

TEST_F(RegistryFaultTest, StallForEverIsATimeoutAtTheDeadline) {
  registry_->spoil = Always([](FakeResponse& answer) { answer.stall_after = 10; });
  Connect();
  const auto start = std::chrono::steady_clock::now();
  const auto error = ReadAll(seconds(2));
  const auto took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, ErrorCode::kTimeout) << error->context;
  EXPECT_GE(took, milliseconds(1900));
  EXPECT_LT(took, seconds(8));
  registry_->server().Stop();
}

TEST_F(RegistryFaultTest, TokenThatExpiresInTheMiddleIsFetchedOnceForAllWaiters) {
  registry_->wants_tokens = true;
  // Each answer brings one chunk, so that there are many; with the second the tokens end.
  registry_->spoil = [this](int n, const FakeRequest&, FakeResponse right) {
    if (n == 2) registry_->RevokeTokens();
    if (right.body.size() > 2 * kChunkBytes) right.cut_after = 3 * kChunkBytes / 2;
    return right;
  };
  Connect();
  ExpectAllRight();
  EXPECT_EQ(registry_->token_requests, 2);
}

// The store's first URL stops working in the middle; the registry then hands out another.
class ExpiringUrlTest : public RegistryFaultTest, public testing::WithParamInterface<int> {};

TEST_P(ExpiringUrlTest, IsAskedForAnew) {
  std::atomic<int> served{0};
  std::string store_url;
  FakeServer store([&](const FakeRequest& request) -> FakeResponse {
    EXPECT_FALSE(request.headers.Has("Authorization")) << "the registry's token left the registry";
    if (request.target.starts_with("/first") && ++served > 1) {
      registry_->SetRedirect(store_url + "/second");
      return {.status = GetParam(), .body = "<Error>expired</Error>"};
    }
    return ServeContent(request, std::string(AsText(Blob().bytes)));
  });
  store_url = store.url();
  registry_->wants_tokens = true;
  registry_->SetRedirect(store_url + "/first");
  Connect();
  ExpectAllRight();
  EXPECT_GE(store.Count("GET", "/second"), 1U);
  scheduler_.reset();
}

INSTANTIATE_TEST_SUITE_P(Status, ExpiringUrlTest, testing::Values(400, 401, 403, 404, 410),
                         [](const auto& info) { return "Http" + std::to_string(info.param); });

TEST_F(RegistryFaultTest, RedirectLoopIsAClearError) {
  registry_->SetRedirect(registry_->server().url() + "/v2/app/blobs/again");
  Connect();
  const auto error = ReadAll(seconds(3));
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->context, HasSubstr("redirects"));
}

TEST_F(RegistryFaultTest, IdleConnectionsThatTheServerHasClosedCostNoError) {
  Connect();
  ExpectAllRight();
  registry_->server().DropConnections();
  object_.reset();
  cache_.reset();
  scheduler_.reset();
  TemporaryDirectory fresh;
  cache_ = OpenCache(fresh / "cache");
  object_ = OpenObject(*cache_, IdOf(content_));
  scheduler_ = std::make_unique<Scheduler>(Scheduler::Options{});
  ExpectAllRight();
  scheduler_.reset();
}

TEST_F(RegistryFaultTest, CertificateThatNobodyTrustsIsAnErrorAtOnceWithTheRemedy) {
  TestTls tls;
  MakeRegistry({.tls = &tls});
  // By name, because a loopback address would be spoken to in plain HTTP.
  StoreOptions options;
  context_ = *RegistryContext::Create(options, {.stall_timeout = kStall});
  const auto http = HttpClient::Create({});
  ASSERT_TRUE(http.has_value());
  Synchronized<std::optional<HttpResult>> done;
  (*http)->Start(
      {.url = "https://127.0.0.1:" + std::to_string(registry_->server().port()) + "/v2/"},
      {.on_done = [&](const HttpResult& result) {
        done.WithNotify([&](auto& slot) { slot = result; });
      }});
  const HttpResult result =
      done.WaitThen([](auto& slot) { return slot.has_value(); }, [](auto& slot) { return *slot; });
  ASSERT_FALSE(result.status.has_value());
  EXPECT_FALSE(result.status.error().retryable);
  EXPECT_THAT(result.status.error().context, HasSubstr("--ca"));
  (*http)->Shutdown();
}

TEST_F(RegistryFaultTest, NameThatDoesNotResolveIsRetriedUntilTheDeadline) {
  Connect("registry.invalid:5000");
  const auto start = std::chrono::steady_clock::now();
  const auto error = ReadAll(seconds(2));
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, ErrorCode::kTimeout) << error->context;
  EXPECT_THAT(error->context, HasSubstr("registry.invalid"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(10));
}

TEST_F(RegistryFaultTest, RegistryThatRefusesAndComesBackIsReadOn) {
  auto model = NetworkModel::Start(*ParseNetworkProfile("1ms,unshaped"));
  ASSERT_TRUE(model.has_value());
  const int port = *(*model)->AddUpstream(registry_->server().authority());
  (*model)->SetReach(NetworkModel::Reach::kRefused);
  Connect("127.0.0.1:" + std::to_string(port));
  std::jthread repair([&] {
    std::this_thread::sleep_for(milliseconds(500));
    (*model)->SetReach(NetworkModel::Reach::kUp);
  });
  ExpectAllRight();
  scheduler_.reset();
  context_->Shutdown();
}

TEST_F(RegistryFaultTest, NetworkThatBreaksCutsAndStallsIsSurvived) {
  auto model = NetworkModel::Start(
      *ParseNetworkProfile("2ms,200Mbit,break:20%,truncate:20%,stall:10%:600ms"));
  ASSERT_TRUE(model.has_value());
  const int port = *(*model)->AddUpstream(registry_->server().authority());
  Connect("127.0.0.1:" + std::to_string(port));
  ExpectAllRight();
  scheduler_.reset();
  context_->Shutdown();
}

TEST_F(RegistryFaultTest, ManifestIsWhatTheRegistrySaysItIs) {
  FakeRegistry registry;
  const std::string raw = R"({"schemaVersion": 2})";
  const std::string type = "application/vnd.oci.image.index.v1+json";
  registry.AddManifest("v1", raw, type);
  Connect(registry.authority());
  RegistryClient client(context_, {.registry = registry.authority(), .repository = "app"},
                        RegistryAlone(*context_, registry.authority(), "app"));
  EXPECT_TRUE(client.GetManifest("v1", {}).has_value()) << "without the header";
  const auto with = [&](const std::string& digest) {
    registry.Script(
        "GET", "/v2/app/manifests/",
        {{.headers = {{"Content-Type", type}, {"Docker-Content-Digest", digest}}, .body = raw}});
  };
  with(Digest::Of(AsBytes(raw)).ToString());
  EXPECT_TRUE(client.GetManifest("v1", {}).has_value());
  with("sha512:abc");
  EXPECT_TRUE(client.GetManifest("v1", {}).has_value()) << "an algorithm that is not ours";
  with(Digest::Of(AsBytes("other")).ToString());
  const auto wrong = client.GetManifest("v1", {});
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code, ErrorCode::kDigestMismatch);
  with(Digest::Of(AsBytes("other")).ToString());
  EXPECT_TRUE(client.GetManifest("v1", Digest::Of(AsBytes(raw))).has_value()) << "pinned";
}

}  // namespace
}  // namespace layerfs

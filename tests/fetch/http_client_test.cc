// SPDX-License-Identifier: Apache-2.0
#include "fetch/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <future>

#include "fetch/http_proxy.h"
#include "index/base/synchronized.h"
#include "tests/fetch/fake_server.h"
#include "tests/fetch/test_tls.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

struct Answer {
  HttpResult result;
  std::string body;
};

class HttpClientTest : public testing::Test {
 protected:
  static std::unique_ptr<HttpClient> Client(HttpClientOptions options = {}) {
    auto client = HttpClient::Create(std::move(options));
    EXPECT_TRUE(client.has_value());
    return std::move(*client);
  }
  static Answer Do(HttpClient& client, HttpRequest request) {
    auto body = std::make_shared<std::string>();
    std::promise<HttpResult> done;
    client.Start(std::move(request),
                 {.on_data =
                      [body](ByteSpan data) {
                        *body += AsText(data);
                        return BodyFlow::kTaken;
                      },
                  .on_done = [&](const HttpResult& result) { done.set_value(result); }});
    HttpResult result = done.get_future().get();
    return {std::move(result), *body};
  }
};

FakeResponse Echo(const FakeRequest& request) {
  return {.headers = {{"X-Method", request.method}},
          .body = request.body.empty() ? "body" : request.body};
}

TEST_F(HttpClientTest, DeliversHeadAndBody) {
  FakeServer server(Echo);
  const auto client = Client();
  const Answer answer = Do(*client, {.url = server.url() + "/a?b=c", .headers = {{"X-A", "1"}}});
  ASSERT_TRUE(answer.result.status.has_value()) << answer.result.status.error().context;
  EXPECT_EQ(answer.result.head.status, 200);
  EXPECT_EQ(answer.result.head.headers.Get("x-method"), "GET");
  EXPECT_EQ(answer.body, "body");
  EXPECT_EQ(answer.result.body_bytes, 4U);
  EXPECT_TRUE(answer.result.new_connection);
  EXPECT_EQ(server.requests()[0].target, "/a?b=c");
  EXPECT_EQ(server.requests()[0].headers.Get("X-A"), "1");
}

TEST_F(HttpClientTest, KeepsConnections) {
  FakeServer server(Echo);
  const auto client = Client();
  Do(*client, {.url = server.url()});
  const Answer second = Do(*client, {.url = server.url()});
  EXPECT_FALSE(second.result.new_connection);
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(HttpClientTest, AClosedIdleConnectionIsReplacedWithoutAnError) {
  FakeServer server(Echo);
  const auto client = Client();
  Do(*client, {.url = server.url()});
  server.DropConnections();
  for (const char* method : {"GET", "PUT"}) {
    const Answer answer =
        Do(*client, {.method = method, .url = server.url(), .body = {.text = "x"}});
    EXPECT_TRUE(answer.result.status.has_value()) << method;
    server.DropConnections();
  }
}

TEST_F(HttpClientTest, SendsBodiesOfEveryMethodThatHasOne) {
  FakeServer server(Echo);
  const auto client = Client();
  for (const char* method : {"POST", "PUT", "PATCH"}) {
    EXPECT_EQ(Do(*client, {.method = method, .url = server.url(), .body = {.text = "hello"}}).body,
              "hello");
    const Answer empty = Do(*client, {.method = method, .url = server.url()});
    EXPECT_EQ(empty.result.head.headers.Get("X-Method"), method);
    EXPECT_EQ(server.requests().back().headers.Get("Content-Length"), "0");
  }
}

TEST_F(HttpClientTest, StreamsAFilePartAndReportsProgress) {
  FakeServer server(Echo);
  const auto client = Client();
  const TempDir directory;
  const std::string content = Pattern(3'000'000);
  const UniqueFd fd = *OpenFile(directory.Write("f", content), O_RDONLY);
  std::promise<HttpResult> done;
  std::vector<uint64_t> sent;
  client->Start({.method = "PUT",
                 .url = server.url(),
                 .body = {.fd = fd.get(), .offset = 1000, .size = 2'500'000}},
                {.on_sent = [&](uint64_t bytes) { sent.push_back(bytes); },
                 .on_done = [&](const HttpResult& result) { done.set_value(result); }});
  ASSERT_TRUE(done.get_future().get().status.has_value());
  EXPECT_EQ(server.requests()[0].body, content.substr(1000, 2'500'000));
  EXPECT_TRUE(std::is_sorted(sent.begin(), sent.end()));
  EXPECT_EQ(sent.back(), 2'500'000U);
}

TEST_F(HttpClientTest, AFileThatShrankEndsTheUploadWithItsError) {
  FakeServer server(Echo);
  const auto client = Client();
  const TempDir directory;
  const UniqueFd fd = *OpenFile(directory.Write("f", "abc"), O_RDONLY);
  const Answer answer =
      Do(*client, {.method = "PUT", .url = server.url(), .body = {.fd = fd.get(), .size = 10}});
  ASSERT_FALSE(answer.result.status.has_value());
  EXPECT_EQ(answer.result.status.error().code, ErrorCode::kCorrupt);
}

TEST_F(HttpClientTest, HeadHasALengthAndNoBody) {
  FakeServer server(Echo);
  const Answer answer = Do(*Client(), {.method = "HEAD", .url = server.url()});
  EXPECT_EQ(answer.result.head.headers.Get("Content-Length"), "4");
  EXPECT_EQ(answer.body, "");
}

TEST_F(HttpClientTest, ErrorStatusesAndRedirectsAreDeliveredAsTheyAre) {
  FakeServer server([](const FakeRequest&) {
    return FakeResponse{.status = 307, .headers = {{"Location", "/elsewhere"}}, .body = "moved"};
  });
  const Answer answer = Do(*Client(), {.url = server.url()});
  ASSERT_TRUE(answer.result.status.has_value());
  EXPECT_EQ(answer.result.head.status, 307);
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(HttpClientTest, ADemandDoesNotWaitBehindAFill) {
  FakeServer server([](const FakeRequest& request) {
    if (request.target == "/fill") return FakeResponse{.body = "slow", .stall_after = 1};
    return FakeResponse{.body = "fast"};
  });
  const auto client = Client();
  const auto fill = client->Start({.url = server.url() + "/fill", .fetch_class = FetchClass::kFill},
                                  {.on_done = [](const HttpResult&) {}});
  EXPECT_EQ(Do(*client, {.url = server.url() + "/demand"}).body, "fast");
  client->Cancel(fill);
}

TEST_F(HttpClientTest, CancelEndsATransferAtOnce) {
  FakeServer server(
      [](const FakeRequest&) { return FakeResponse{.body = "abc", .stall_after = 1}; });
  const auto client = Client();
  std::promise<HttpResult> done;
  std::promise<void> started;
  const auto id =
      client->Start({.url = server.url()},
                    {.on_data =
                         [&](ByteSpan) {
                           started.set_value();
                           return BodyFlow::kTaken;
                         },
                     .on_done = [&](const HttpResult& result) { done.set_value(result); }});
  started.get_future().wait();
  client->Cancel(id);
  EXPECT_EQ(done.get_future().get().status.error().code, ErrorCode::kCancelled);
}

TEST_F(HttpClientTest, ASinkThatStopsEndsTheTransfer) {
  FakeServer server([](const FakeRequest&) { return FakeResponse{.body = Pattern(1'000'000)}; });
  std::promise<HttpResult> done;
  const auto client = Client();
  client->Start({.url = server.url()},
                {.on_data = [](ByteSpan) { return BodyFlow::kStop; },
                 .on_done = [&](const HttpResult& result) { done.set_value(result); }});
  EXPECT_EQ(done.get_future().get().status.error().code, ErrorCode::kCancelled);
}

TEST_F(HttpClientTest, AFullSinkPausesAndLosesNothing) {
  const std::string content = Pattern(2'000'000);
  FakeServer server([&](const FakeRequest&) { return FakeResponse{.body = content}; });
  const auto client = Client();
  std::promise<HttpResult> done;
  std::string body;
  int calls = 0;
  HttpClient::RequestId id = 0;
  std::promise<void> id_known;
  auto id_ready = id_known.get_future().share();
  id = client->Start({.url = server.url()},
                     {.on_data =
                          [&](ByteSpan data) {
                            id_ready.wait();
                            if (++calls % 2 == 1) {
                              client->Resume(id);
                              return BodyFlow::kFull;
                            }
                            body += AsText(data);
                            return BodyFlow::kTaken;
                          },
                      .on_done = [&](const HttpResult& result) { done.set_value(result); }});
  id_known.set_value();
  ASSERT_TRUE(done.get_future().get().status.has_value());
  EXPECT_EQ(body, content);
}

TEST_F(HttpClientTest, ShutdownEndsWhatRuns) {
  FakeServer server(
      [](const FakeRequest&) { return FakeResponse{.body = "abc", .stall_after = 1}; });
  auto client = Client();
  std::promise<HttpResult> done;
  client->Start({.url = server.url()},
                {.on_done = [&](const HttpResult& result) { done.set_value(result); }});
  client->Shutdown();
  EXPECT_EQ(done.get_future().get().status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(Do(*client, {.url = server.url()}).result.status.error().code, ErrorCode::kCancelled);
}

struct Fault {
  const char* name;
  FakeResponse response;
  ErrorCode code;
};
std::ostream& operator<<(std::ostream& out, const Fault& row) { return out << row.name; }

class TransferFault : public testing::TestWithParam<Fault> {};

TEST_P(TransferFault, IsARetryableErrorThatNamesTheUrl) {
  FakeServer server([](const FakeRequest&) { return GetParam().response; });
  auto client = HttpClient::Create({.stall_timeout = milliseconds(200)});
  std::promise<HttpResult> done;
  (*client)->Start({.url = server.url() + "/blob?signature=hidden"},
                   {.on_done = [&](const HttpResult& result) { done.set_value(result); }});
  const HttpResult result = done.get_future().get();
  ASSERT_FALSE(result.status.has_value());
  EXPECT_EQ(result.status.error().code, GetParam().code) << result.status.error().context;
  EXPECT_TRUE(result.status.error().retryable);
  EXPECT_THAT(result.status.error().context, HasSubstr("/blob"));
  EXPECT_THAT(result.status.error().context, testing::Not(HasSubstr("hidden")));
}

INSTANTIATE_TEST_SUITE_P(
    Table, TransferFault,
    testing::Values(Fault{"CutBody", {.body = "abcdef", .cut_after = 3}, ErrorCode::kNetwork},
                    Fault{"NoAnswer", {.close_without_answer = true}, ErrorCode::kNetwork},
                    Fault{"StallInBody", {.body = "abcdef", .stall_after = 3}, ErrorCode::kTimeout},
                    Fault{"StallBeforeHead", {.delay = milliseconds(60'000)}, ErrorCode::kTimeout},
                    Fault{"TrickleBelowTheLimit",
                          {.body = Pattern(100), .piece_bytes = 1, .piece_delay = milliseconds(20)},
                          ErrorCode::kTimeout}),
    [](const auto& info) { return info.param.name; });

TEST_F(HttpClientTest, ASlowBodyThatMovesIsNotAStall) {
  FakeServer server([](const FakeRequest&) {
    return FakeResponse{
        .body = Pattern(20'000), .piece_bytes = 1'000, .piece_delay = milliseconds(20)};
  });
  const auto client = Client({.stall_timeout = milliseconds(200), .stall_bytes = 500});
  const Answer answer = Do(*client, {.url = server.url()});
  EXPECT_TRUE(answer.result.status.has_value());
  EXPECT_EQ(answer.body.size(), 20'000U);
}

TEST_F(HttpClientTest, NobodyListeningIsARetryableError) {
  std::string url;
  {
    FakeServer server(Echo);
    url = server.url();
  }
  const Answer answer = Do(*Client(), {.url = url});
  ASSERT_FALSE(answer.result.status.has_value());
  EXPECT_EQ(answer.result.status.error().code, ErrorCode::kNetwork);
  EXPECT_TRUE(answer.result.status.error().retryable);
}

TEST_F(HttpClientTest, ANameThatDoesNotResolveIsARetryableError) {
  const Answer answer = Do(*Client(), {.url = "http://registry.invalid/"});
  ASSERT_FALSE(answer.result.status.has_value());
  EXPECT_EQ(answer.result.status.error().code, ErrorCode::kNetwork);
}

TEST_F(HttpClientTest, TlsIsCheckedAgainstTheCaFile) {
  TestTls tls;
  FakeServer server(Echo, {.tls = &tls});
  const Answer trusted = Do(*Client({.tls = {.ca_file = tls.ca_file()}}), {.url = server.url()});
  EXPECT_TRUE(trusted.result.status.has_value()) << trusted.result.status.error().context;
  EXPECT_EQ(trusted.body, "body");
  const Answer unknown = Do(*Client(), {.url = server.url()});
  ASSERT_FALSE(unknown.result.status.has_value());
  EXPECT_FALSE(unknown.result.status.error().retryable);
  EXPECT_THAT(unknown.result.status.error().context, HasSubstr("--ca"));
  const Answer skipped =
      Do(*Client({.tls = {.insecure_skip_verify = true}}), {.url = server.url()});
  EXPECT_TRUE(skipped.result.status.has_value());
}

TEST_F(HttpClientTest, SslCertFileReplacesTheSystemsAuthorities) {
  TestTls tls;
  FakeServer server(Echo, {.tls = &tls});
  setenv("SSL_CERT_FILE", tls.ca_file().c_str(), 1);
  const Answer answer = Do(*Client(), {.url = server.url()});
  unsetenv("SSL_CERT_FILE");
  EXPECT_TRUE(answer.result.status.has_value()) << answer.result.status.error().context;
}

TEST_F(HttpClientTest, AClientCertificateLetsIn) {
  TestTls tls;
  tls.RequireClientCertificate();
  FakeServer server(Echo, {.tls = &tls});
  const TlsOptions with{
      .ca_file = tls.ca_file(), .client_cert = tls.client_cert(), .client_key = tls.client_key()};
  EXPECT_TRUE(Do(*Client({.tls = with}), {.url = server.url()}).result.status.has_value());
  EXPECT_FALSE(Do(*Client({.tls = {.ca_file = tls.ca_file()}}), {.url = server.url()})
                   .result.status.has_value());
}

TEST_F(HttpClientTest, ACaFileThatIsNoneIsRefusedAtOnce) {
  const TempDir directory;
  for (const std::string& file : {directory.Write("f", "no pem"), directory / "missing"}) {
    const auto client = HttpClient::Create({.tls = {.ca_file = file}});
    ASSERT_FALSE(client.has_value());
    EXPECT_THAT(client.error().context, HasSubstr("--ca"));
  }
}

TEST_F(HttpClientTest, TlsToAPlainPortNamesTheRemedy) {
  FakeServer server(Echo);
  const Answer answer = Do(*Client(), {.url = "https://" + server.authority()});
  ASSERT_FALSE(answer.result.status.has_value());
  EXPECT_THAT(answer.result.status.error().context, HasSubstr("--plain-http"));
}

TEST_F(HttpClientTest, ReachesUnixSocketsAndIpv6) {
  const TempDir directory;
  FakeServer on_path(Echo, {.unix_path = directory / "socket"});
  const Answer by_path =
      Do(*Client(), {.url = "http://registry/x", .unix_socket = directory / "socket"});
  EXPECT_EQ(by_path.body, "body");
  FakeServer on_ipv6(Echo, {.ipv6 = true});
  EXPECT_EQ(Do(*Client(), {.url = on_ipv6.url()}).body, "body");
}

TEST_F(HttpClientTest, AProxyOfTheEnvironmentCarriesWhatIsNotLoopback) {
  for (const char* variable : {"http_proxy", "HTTP_PROXY"}) {
    FakeServer proxy(Echo);
    FakeServer server(Echo);
    setenv(variable, proxy.url().c_str(), 1);
    const auto client = Client();
    const Answer far = Do(*client, {.url = "http://registry.invalid/v2/"});
    const Answer near = Do(*client, {.url = server.url() + "/near"});
    unsetenv(variable);
    EXPECT_TRUE(far.result.status.has_value()) << variable;
    EXPECT_EQ(proxy.lines(), std::vector<std::string>{"GET http://registry.invalid/v2/"});
    EXPECT_EQ(server.lines(), std::vector<std::string>{"GET /near"});
  }
}

TEST(HttpProxyTest, NoProxyTakesTheFormsOfOtherTools) {
  const auto is_straight = [](const char* list, const std::string& url) {
    setenv("no_proxy", list, 1);
    const bool none = HttpProxy::For(url).none;
    unsetenv("no_proxy");
    return none;
  };
  const std::string url = "https://Registry.example.com:5000/v2/";
  for (const char* list : {"registry.example.com:5000", "a, *.example.com", "*.EXAMPLE.com:5000",
                           "example.com:5000", "*.com"}) {
    EXPECT_TRUE(is_straight(list, url)) << list;
  }
  for (const char* list : {"registry.example.com:443", "*.registry.example.com", "*.ample.com",
                           "ample.com:5000", ":5000", "*", "", ","}) {
    EXPECT_FALSE(is_straight(list, url)) << list;
  }
  EXPECT_TRUE(is_straight("10.9.9.1:80", "http://10.9.9.1/"));
  EXPECT_TRUE(is_straight("[2001:db8::1]:5000", "http://[2001:db8::1]:5000/"));
  EXPECT_FALSE(is_straight("2001:db8::1", "http://[2001:db8::1]:5000/"));
}

TEST_F(HttpClientTest, ACapitalHttpProxyGivesWay) {
  FakeServer capital(Echo);
  FakeServer proxy(Echo);
  setenv("HTTP_PROXY", capital.url().c_str(), 1);
  const auto client = Client();
  setenv("http_proxy", proxy.url().c_str(), 1);
  EXPECT_TRUE(Do(*client, {.url = "http://registry.invalid/"}).result.status.has_value());
  unsetenv("http_proxy");
  setenv("no_proxy", "registry.invalid", 1);
  EXPECT_FALSE(Do(*client, {.url = "http://registry.invalid/"}).result.status.has_value());
  unsetenv("no_proxy");
  // In a CGI's environment the client names it.
  setenv("REQUEST_METHOD", "GET", 1);
  EXPECT_FALSE(Do(*client, {.url = "http://registry.invalid/"}).result.status.has_value());
  unsetenv("REQUEST_METHOD");
  unsetenv("HTTP_PROXY");
  EXPECT_EQ(proxy.lines().size(), 1u);
  EXPECT_TRUE(capital.lines().empty());
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// How the client logs in: what goes to whom, how often, and what is said when it does not work.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/fetch/registry_testing.h"

namespace layerfs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kManifest[] = R"({"schemaVersion":2,"manifests":[]})";

class RegistryAuth : public RegistryTest {
 protected:
  RegistryAuth() { registry_.AddManifest("v1", kManifest, media_type::kOciIndex); }
  Status Get(RegistryClient& client) {
    const auto document = client.GetManifest("v1", std::nullopt);
    if (!document) return Fail(document.error());
    return {};
  }
  size_t Tokens() { return registry_.server().Count("GET", "/token"); }
};

TEST_F(RegistryAuth, NothingIsSentWhereNothingIsWanted) {
  LogIn("user", "secret");
  RegistryClient client = Client();
  ASSERT_TRUE(Get(client).has_value());
  EXPECT_FALSE(registry_.server().requests()[0].headers.Has("Authorization"));
}

TEST_F(RegistryAuth, BasicIsAnsweredOnceAndThenSentAtOnce) {
  LogIn("user", "secret");
  registry_.RequireBasic("user", "secret");
  RegistryClient client = Client();
  ASSERT_TRUE(Get(client).has_value());
  ASSERT_TRUE(Get(client).has_value());
  EXPECT_EQ(registry_.server().requests().size(), 3U);
}

TEST_F(RegistryAuth, ABearerChallengeWithoutARealmLeavesBasic) {
  LogIn("user", "secret");
  registry_.RequireBasic("user", "secret");
  registry_.Script(
      "GET", "/v2/app/manifests/",
      {{.status = 401,
        .headers = {{"WWW-Authenticate", "Bearer service=\"fake\", Basic realm=\"fake\""}}}});
  RegistryClient client = Client();
  const Status got = Get(client);
  EXPECT_TRUE(got.has_value()) << got.error().context;
}

TEST_F(RegistryAuth, ABearerChallengeWithoutARealmAloneSaysSo) {
  registry_.Script("GET", "/v2/app/manifests/",
                   {{.status = 401, .headers = {{"WWW-Authenticate", "Bearer service=\"x\""}}}});
  RegistryClient client = Client();
  const Status got = Get(client);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, ErrorCode::kUnauthorized);
  EXPECT_THAT(got.error().context, HasSubstr("names no token server"));
}

TEST_F(RegistryAuth, AnAnonymousTokenIsFetchedAndKept) {
  registry_.RequireBearer({});
  RegistryClient client = Client();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Get(client).has_value());
  EXPECT_THAT(registry_.server().lines(),
              ElementsAre("GET /v2/app/manifests/v1",
                          "GET /token?service=fake&scope=repository%3Aapp%3Apull",
                          "GET /v2/app/manifests/v1", "GET /v2/app/manifests/v1",
                          "GET /v2/app/manifests/v1"));
}

TEST_F(RegistryAuth, ATokenIsFetchedWithTheLogin) {
  LogIn("user", "secret");
  registry_.RequireBearer({.user = "user", .password = "secret"});
  RegistryClient client = Client();
  const Status got = Get(client);
  ASSERT_TRUE(got.has_value()) << got.error().context;
  EXPECT_THAT(registry_.server().lines()[1], HasSubstr("&account=user"));
  EXPECT_THAT(registry_.server().lines()[1], Not(HasSubstr("secret")));
}

TEST_F(RegistryAuth, AnIdentityTokenIsPosted) {
  UseIdentityToken("refresh-me");
  registry_.RequireBearer({.refresh_token = "refresh-me"});
  RegistryClient client = Client();
  const Status got = Get(client);
  ASSERT_TRUE(got.has_value()) << got.error().context;
  const FakeRequest post = registry_.server().requests()[1];
  EXPECT_EQ(post.method, "POST");
  EXPECT_EQ(post.target, "/token");
  EXPECT_THAT(post.body, HasSubstr("grant_type=refresh_token&client_id=layerfs&service=fake"));
}

TEST_F(RegistryAuth, AHelperGetsNoMoreTimeThanTheCall) {
  const std::string helper =
      directory_.Write("bin/docker-credential-hangs", "#!/bin/sh\nsleep 100");
  ASSERT_EQ(::chmod(helper.c_str(), 0755), 0);
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", (directory_ / "bin:" + path).c_str(), 1);
  registry_.RequireBasic("user", "secret");
  context_ = RegistryContext::Create(
                 {.auth_file = directory_.Write("auth.json", R"({"credsStore":"hangs"})"),
                  .timeout = std::chrono::milliseconds(300)},
                 {.stall_timeout = stall_timeout_, .clock = &clock_})
                 .value();
  RegistryClient client = Client();
  const auto begin = std::chrono::steady_clock::now();
  const Status got = Get(client);
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, CredentialStore::kHelperTimeout / 2);
  ASSERT_FALSE(got.has_value());
  EXPECT_THAT(got.error().context, HasSubstr("hangs: it did not answer in time"));
}

TEST_F(RegistryAuth, BearerIsTakenOutOfSeveralChallenges) {
  registry_.RequireBearer({.extra = "Basic realm=\"no, thanks\""});
  RegistryClient client = Client();
  EXPECT_TRUE(Get(client).has_value());
}

TEST_F(RegistryAuth, TheTokenServerMayBeAnotherHost) {
  FakeRegistry other;
  other.RequireBearer({});
  registry_.Script(
      "GET", "/v2/",
      {{.status = 401,
        .headers = {{"WWW-Authenticate", "Bearer realm=\"" + other.server().url() + "/token\""}}}});
  RegistryClient client = Client();
  EXPECT_TRUE(Get(client).has_value());
  EXPECT_EQ(other.server().lines(),
            std::vector<std::string>{"GET /token?scope=repository%3Aapp%3Apull"});
}

TEST_F(RegistryAuth, AScopeThatTheRegistryAsksForIsAskedFor) {
  registry_.RequireBearer({.scope = "registry:catalog:*"});
  RegistryClient client = Client();
  ASSERT_TRUE(Get(client).has_value());
  EXPECT_THAT(registry_.server().lines()[1],
              HasSubstr("scope=repository%3Aapp%3Apull&scope=registry%3Acatalog%3A%2A"));
}

TEST_F(RegistryAuth, AnExpiringTokenIsRenewedBeforeItIsRefused) {
  registry_.RequireBearer({.expires_in = 100});
  RegistryClient client = Client();
  ASSERT_TRUE(Get(client).has_value());
  clock_.Advance(std::chrono::seconds(80));
  ASSERT_TRUE(Get(client).has_value());
  EXPECT_EQ(Tokens(), 1U);
  clock_.Advance(std::chrono::seconds(15));
  ASSERT_TRUE(Get(client).has_value());
  EXPECT_EQ(Tokens(), 2U);
  EXPECT_EQ(registry_.server().Count("GET", "/v2/"), 4U);
}

TEST_F(RegistryAuth, ATokenThatIsRefusedInTheMiddleIsRenewed) {
  registry_.RequireBearer({});
  RegistryClient client = Client();
  ASSERT_TRUE(Get(client).has_value());
  registry_.RevokeTokens();
  ASSERT_TRUE(Get(client).has_value());
  EXPECT_EQ(Tokens(), 2U);
}

// As behind a proxy that has moved.
TEST_F(RegistryAuth, ARedirectOfTheTokenServerIsFollowedAndTheLoginStaysWithItsHost) {
  LogIn("user", "secret");
  std::string to = registry_.server().url();
  FakeServer front([&](const FakeRequest& request) {
    FakeResponse moved;
    moved.status = 307;
    moved.headers = {{"Location", to + request.target}};
    return moved;
  });
  registry_.RequireBearer({.user = "user", .password = "secret", .realm = front.url() + "/token"});
  RegistryClient client = Client();
  const Status got = Get(client);
  EXPECT_TRUE(got.has_value()) << got.error().context;
  to = front.url();
  registry_.RevokeTokens();
  EXPECT_FALSE(Get(client).has_value()) << "it leads in a circle";
  to = "http://localhost" + registry_.server().url().substr(registry_.server().url().rfind(':'));
  EXPECT_FALSE(Get(client).has_value()) << "another host";
  EXPECT_FALSE(registry_.server().requests().back().headers.Has("Authorization"));
}

TEST_F(RegistryAuth, OneTokenIsFetchedForAllWhoWait) {
  const Digest digest = registry_.AddBlob(Pattern(1000));
  registry_.RequireBearer({});
  registry_.Script("GET", "/token", {});
  const auto source = Source();
  std::vector<std::unique_ptr<TransferLog>> logs;
  for (int i = 0; i < 20; ++i) {
    logs.push_back(std::make_unique<TransferLog>());
    source->Start({digest, 1000, 0, 10}, FetchClass::kDemand, logs.back()->Sink());
  }
  for (const auto& log : logs) EXPECT_TRUE(log->Wait().status.has_value());
  EXPECT_EQ(Tokens(), 1U);
  // And again when it has been revoked under all of them.
  registry_.RevokeTokens();
  logs.clear();
  for (int i = 0; i < 20; ++i) {
    logs.push_back(std::make_unique<TransferLog>());
    source->Start({digest, 1000, 0, 10}, FetchClass::kDemand, logs.back()->Sink());
  }
  for (const auto& log : logs) EXPECT_TRUE(log->Wait().status.has_value());
  EXPECT_EQ(Tokens(), 2U);
}

TEST_F(RegistryAuth, PushingAsksForItsOwnToken) {
  registry_.RequireBearer({});
  RegistryClient reader = Client(false);
  RegistryClient writer = Client(true);
  ASSERT_TRUE(Get(reader).has_value());
  ASSERT_TRUE(Get(writer).has_value());
  EXPECT_THAT(registry_.server().lines(),
              testing::Contains(HasSubstr("repository%3Aapp%3Apull%2Cpush")));
}

struct Refusal {
  const char* name;
  bool bearer;
  bool logged_in;
  const char* says;
};
std::ostream& operator<<(std::ostream& out, const Refusal& row) { return out << row.name; }
class RegistryRefuses : public RegistryAuth, public testing::WithParamInterface<Refusal> {};

TEST_P(RegistryRefuses, IsUnauthorizedWithTheRemedyAndWithoutTheSecret) {
  if (GetParam().logged_in) LogIn("user", "wrong-secret");
  if (GetParam().bearer) {
    registry_.RequireBearer({.user = "user", .password = "right"});
  } else {
    registry_.RequireBasic("user", "right");
  }
  RegistryClient client = Client();
  const Status got = Get(client);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, ErrorCode::kUnauthorized);
  EXPECT_FALSE(got.error().retryable);
  EXPECT_THAT(got.error().context, HasSubstr(GetParam().says));
  EXPECT_THAT(got.error().context, HasSubstr("skopeo login " + registry_.authority()));
  EXPECT_THAT(got.error().context, HasSubstr(directory_ / "auth.json"));
  EXPECT_THAT(got.error().context, Not(HasSubstr("wrong-secret")));
}

INSTANTIATE_TEST_SUITE_P(
    Table, RegistryRefuses,
    testing::Values(Refusal{"BasicWithoutLogin", false, false, "it wants a login"},
                    Refusal{"BasicWrongLogin", false, true, "the login was not accepted"},
                    Refusal{"BearerWithoutLogin", true, false, "incorrect username or password"},
                    Refusal{"BearerWrongLogin", true, true, "the login was not accepted"}),
    [](const auto& info) { return info.param.name; });

TEST_F(RegistryAuth, ARegistryThatRefusesItsOwnTokensIsNotAskedForEver) {
  registry_.RequireBearer({});
  registry_.Script(
      "GET", "/v2/",
      std::vector<FakeResponse>(
          10, {.status = 401,
               .headers = {{"WWW-Authenticate",
                            "Bearer realm=\"" + registry_.server().url() + "/token\""}}}));
  RegistryClient client = Client();
  const Status got = Get(client);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, ErrorCode::kUnauthorized);
  EXPECT_LE(registry_.server().requests().size(), 6U);
}

struct BadToken {
  const char* name;
  FakeResponse answer;
};
std::ostream& operator<<(std::ostream& out, const BadToken& row) { return out << row.name; }
class TokenServer : public RegistryAuth, public testing::WithParamInterface<BadToken> {};

TEST_P(TokenServer, ThatFailsForAMomentIsAskedAgain) {
  registry_.RequireBearer({});
  registry_.Script("GET", "/token", {GetParam().answer});
  RegistryClient client = Client();
  const Status got = Get(client);
  EXPECT_TRUE(got.has_value()) << got.error().context;
}

INSTANTIATE_TEST_SUITE_P(
    Table, TokenServer,
    testing::Values(BadToken{"ServerError", {.status = 503}},
                    BadToken{"TooManyRequests", {.status = 429}},
                    BadToken{"NoAnswer", {.close_without_answer = true}},
                    BadToken{"Garbage", {.body = "<html>"}}, BadToken{"NoToken", {.body = "{}"}},
                    BadToken{"HeaderInjection", {.body = "{\"token\":\"a\\r\\nX-Evil: 1\"}"}},
                    BadToken{"Endless", {.body = std::string(3'000'000, ' ')}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

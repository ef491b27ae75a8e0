// SPDX-License-Identifier: Apache-2.0
#include "fetch/authenticator.h"

#include <algorithm>

#include "fetch/registry_error.h"
#include "index/base/json.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxTokenAnswerBytes = uint64_t{1} << 20;
constexpr std::chrono::milliseconds kTokenTimeout{30'000};
// A token without expires_in lives 60 seconds (token specification), and none is to be meant to
// live shorter: some servers say 0.
constexpr uint64_t kDefaultLifeSeconds = 60;
constexpr int kMaxHops = 5;
// Between asking and using, a token must not run out.
constexpr std::chrono::seconds kSafetyMargin{10};

std::string Join(const AuthScopes& scopes) {
  std::string text;
  for (const std::string& scope : scopes) text += (text.empty() ? "" : " ") + scope;
  return text;
}

// What to ask the token server for: our scopes, and the challenge's where it is none of ours.
AuthScopes WantedScopes(AuthScopes scopes, const std::string& challenged) {
  const auto covers = [&](const std::string& scope) {
    // "repository:a:pull,push" covers "repository:a:pull".
    return scope.starts_with(challenged);
  };
  if (!challenged.empty() && std::ranges::none_of(scopes, covers)) scopes.push_back(challenged);
  return scopes;
}

Result<Secret> ParseToken(const std::string& body, uint64_t* life_seconds) {
  auto json = ParseJson(AsBytes(body), kMaxTokenAnswerBytes);
  if (!json) return Fail(ErrorCode::kNetwork, "its answer is not JSON", true);
  for (const char* key : {"token", "access_token"}) {
    auto token = JsonOptionalString(*json, key);
    if (!token || token->empty()) continue;
    // A token that would end the header line is none.
    const bool plain =
        std::ranges::all_of(*token, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
    if (!plain) break;
    *life_seconds = std::max(JsonUint(*json, "expires_in").value_or(0), kDefaultLifeSeconds);
    return Secret("Bearer " + *token);
  }
  return Fail(ErrorCode::kNetwork, "there is no token in its answer", true);
}

}  // namespace

Authenticator::Authenticator(Context context, std::string registry, bool secure)
    : context_(context), registry_(std::move(registry)), secure_(secure) {}

Error Authenticator::WithHint(Error error) const {
  error.context += "; " + context_.credentials->LoginHint(registry_);
  if (!problem_.empty()) error.context += "; " + problem_;
  return error;
}

void Authenticator::Authorize(const AuthScopes& scopes, const std::string& repository, Done done) {
  switch (scheme_) {
    case Scheme::kNone:
      return done(Secret());
    case Scheme::kBasic:
      return WithCredential(repository, false, [done](Result<Credential> credential) {
        if (!credential) return done(Fail(std::move(credential).error()));
        done(credential->empty() ? Secret() : credential->BasicAuthorization());
      });
    case Scheme::kBearer:
      return GetToken(scopes, repository, std::move(done));
  }
}

void Authenticator::AnswerChallenge(const AuthScopes& scopes, const std::string& repository,
                                    const std::vector<AuthChallenge>& challenges,
                                    const Secret& rejected, Done done) {
  const auto find = [&](std::string_view scheme) {
    return std::ranges::find(challenges, scheme, &AuthChallenge::scheme);
  };
  // Without a realm it says nothing of where tokens are to be had.
  const auto bearer = std::ranges::find_if(challenges, [](const AuthChallenge& challenge) {
    return challenge.scheme == "bearer" && !challenge.Parameter("realm").empty();
  });
  if (bearer == challenges.end()) {
    if (find("basic") == challenges.end()) {
      if (find("bearer") != challenges.end()) {
        return done(Fail(ErrorCode::kUnauthorized,
                         "HTTP 401: its Bearer challenge names no token server (realm)"));
      }
      return done(Fail(WithHint(
          {ErrorCode::kUnauthorized, "HTTP 401 without a challenge that layerfs can answer"})));
    }
    scheme_ = Scheme::kBasic;
    return AnswerBasic(repository, rejected, done);
  }
  scheme_ = Scheme::kBearer;
  realm_ = bearer->Parameter("realm");
  service_ = bearer->Parameter("service");
  Token& token = tokens_[scopes];
  token.challenged_scope = bearer->Parameter("scope");
  // Another request may have got a new one since.
  if (token.authorization == rejected) token.authorization = Secret();
  GetToken(scopes, repository, std::move(done));
}

void Authenticator::AnswerBasic(const std::string& repository, const Secret& rejected,
                                const Done& done) {
  // What was rejected may have run out: helpers give passwords that live for hours.
  WithCredential(repository, !rejected.empty(), [this, rejected, done](Result<Credential> found) {
    if (!found) return done(Fail(std::move(found).error()));
    if (found->empty()) {
      return done(Fail(WithHint({ErrorCode::kUnauthorized, "HTTP 401: it wants a login"})));
    }
    Secret authorization = found->BasicAuthorization();
    if (authorization == rejected) {
      return done(
          Fail(WithHint({ErrorCode::kUnauthorized, "HTTP 401: the login was not accepted"})));
    }
    done(std::move(authorization));
  });
}

void Authenticator::GetToken(const AuthScopes& scopes, const std::string& repository, Done done) {
  Token& token = tokens_[scopes];
  if (!token.authorization.empty() && context_.clock->Now() < token.expires) {
    return done(token.authorization);
  }
  token.waiters.push_back(std::move(done));
  if (token.fetching) return;
  token.fetching = true;
  WithCredential(repository, true, [this, scopes](Result<Credential> credential) {
    if (!credential) return FinishToken(scopes, Fail(std::move(credential).error()));
    FetchToken(scopes, *credential);
  });
}

Result<HttpRequest> Authenticator::TokenRequest(const Token& token, const AuthScopes& scopes,
                                                const Credential& credential) const {
  LAYERFS_TRY_IN(realm, Url::Parse(realm_), "token server");
  if (secure_ && realm.scheme != "https" && !realm.is_loopback() && !credential.empty()) {
    return Fail(ErrorCode::kPermission,
                "the token server " + UrlForMessages(realm_) +
                    " speaks no TLS, though the registry does: no credentials are sent there");
  }
  const AuthScopes wanted = WantedScopes(scopes, token.challenged_scope);
  HttpRequest request{.timeout = kTokenTimeout};
  if (!credential.identity_token.empty()) {
    request.method = "POST";
    request.url = realm_;
    request.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
    request.body.text =
        "grant_type=refresh_token&client_id=layerfs&service=" + UrlEncode(service_) +
        "&scope=" + UrlEncode(Join(wanted)) +
        "&refresh_token=" + UrlEncode(credential.identity_token.Reveal());
    return request;
  }
  request.url = realm_;
  if (!service_.empty()) request.url = AppendQuery(request.url, "service", service_);
  for (const std::string& scope : wanted) request.url = AppendQuery(request.url, "scope", scope);
  if (!credential.empty()) {
    request.url = AppendQuery(request.url, "account", credential.username);
    request.authorization = credential.BasicAuthorization();
  }
  return request;
}

void Authenticator::FetchToken(const AuthScopes& scopes, const Credential& credential) {
  auto request = TokenRequest(tokens_[scopes], scopes, credential);
  if (!request) return FinishToken(scopes, Fail(std::move(request).error()));
  SendTokenRequest(scopes, *std::move(request), !credential.empty(), 0);
}

void Authenticator::SendTokenRequest(const AuthScopes& scopes, HttpRequest request,
                                     bool with_credential, int hops) {
  const auto answer = std::make_shared<TokenAnswer>();
  answer->request = std::move(request);
  answer->hops = hops;
  answer->with_credential = with_credential;
  context_.http->Start(answer->request,
                       {.on_data =
                            [answer](ByteSpan data) {
                              answer->body += AsText(data);
                              answer->too_large = answer->body.size() > kMaxTokenAnswerBytes;
                              return answer->too_large ? BodyFlow::kStop : BodyFlow::kTaken;
                            },
                        .on_done =
                            [this, scopes, answer](const HttpResult& result) {
                              answer->result = result;
                              OnToken(scopes, *answer);
                            }});
}

// As far as it leads nobody to where the login must not go: what was asked for over TLS is not
// asked for without, and another server does not see a password.
bool Authenticator::FollowRedirect(const AuthScopes& scopes, const TokenAnswer& answer) {
  const std::string& from = answer.request.url;
  if (!IsRedirect(answer.result.head.status) || answer.request.method != "GET" ||
      answer.hops == kMaxHops)
    return false;
  auto target = ResolveLocation(from, answer.result.head.headers.Get("Location"));
  const auto here = Url::Parse(from);
  const auto there = target ? Url::Parse(*target) : Fail(target.error());
  if (!here || !there || (here->scheme == "https" && there->scheme != "https")) return false;
  HttpRequest request = answer.request;
  request.url = *std::move(target);
  if (here->host() != there->host()) request.authorization = Secret();
  SendTokenRequest(scopes, std::move(request), answer.with_credential, answer.hops + 1);
  return true;
}

void Authenticator::OnToken(const AuthScopes& scopes, const TokenAnswer& answer) {
  const std::string where = "token server " + UrlForMessages(realm_);
  if (answer.too_large) {
    return FinishToken(scopes, Fail(ErrorCode::kNetwork, where + ": its answer has no end", true));
  }
  if (!answer.result.status) {
    return FinishToken(scopes, Fail(answer.result.status.error().In("token server")));
  }
  if (FollowRedirect(scopes, answer)) return;
  const int status = answer.result.head.status;
  if (status != 200) {
    Error error = RegistryError(status, answer.body).In(where);
    if (status == 400 || status == 401 || status == 403) {
      error.code = ErrorCode::kUnauthorized;
      if (answer.with_credential) error.context += ": the login was not accepted";
      error = WithHint(std::move(error));
    }
    return FinishToken(scopes, Fail(std::move(error)));
  }
  uint64_t life_seconds = 0;
  auto secret = ParseToken(answer.body, &life_seconds);
  if (!secret) return FinishToken(scopes, Fail(std::move(secret).error().In(where)));
  // Half of a very short life is margin enough.
  const auto life = std::chrono::seconds(std::min<uint64_t>(life_seconds, 7 * 86'400));
  const auto margin = std::min<Duration>(kSafetyMargin, Duration(life) / 2);
  Token& token = tokens_[scopes];
  token.authorization = *secret;
  token.expires = context_.clock->Now() + life - margin;
  FinishToken(scopes, *secret);
}

void Authenticator::FinishToken(const AuthScopes& scopes, const Result<Secret>& outcome) {
  Token& token = tokens_[scopes];
  token.fetching = false;
  std::vector<Done> waiters;
  waiters.swap(token.waiters);
  for (const Done& done : waiters) done(outcome);
}

void Authenticator::WithCredential(const std::string& repository, bool fresh,
                                   std::function<void(Result<Credential>)> use) {
  const auto known = credentials_.find(repository);
  if (known != credentials_.end() && !fresh) return use(known->second);
  context_.blocking->Submit([this, repository, use = std::move(use)] {
    auto found = context_.credentials->Find(registry_, repository);
    // After a shutdown nobody waits any more.
    context_.http->Post([this, repository, use, found = std::move(found)] {
      if (!found) return use(Fail(found.error()));
      problem_ = found->problem;
      credentials_[repository] = found->credential;
      use(found->credential);
    });
  });
}

}  // namespace layerfs

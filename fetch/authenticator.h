// SPDX-License-Identifier: Apache-2.0
// Authenticator: what a registry wants in the Authorization header: nothing, a name and a password,
// or a bearer token of a token server (distribution's token and OAuth2 specifications). Each
// token is fetched once for all who wait for it, and again before it expires.
// HTTP loop thread only, constructor and destructor aside; `done` is called there as well.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fetch/auth_challenge.h"
#include "fetch/clock.h"
#include "fetch/credentials.h"
#include "fetch/http_client.h"
#include "fetch/secret.h"
#include "index/base/thread_pool.h"

namespace layerfs {

// What a token allows: "repository:library/debian:pull", sorted. One token a set.
using AuthScopes = std::vector<std::string>;

class Authenticator {
 public:
  struct Context {
    HttpClient* http;
    const CredentialStore* credentials;
    ThreadPool* blocking;  // where credentials are looked up
    const Clock* clock;
  };
  // `registry` as the user names it; `secure`: whether it is spoken to over TLS.
  Authenticator(Context context, std::string registry, bool secure);

  using Done = std::function<void(Result<Secret>)>;
  // For a request that is about to be sent; an empty secret where nothing is known to be wanted.
  void Authorize(const AuthScopes& scopes, const std::string& repository, Done done);
  // After a 401 to a request that carried `rejected`. kUnauthorized where there is nothing better
  // to send.
  void AnswerChallenge(const AuthScopes& scopes, const std::string& repository,
                       const std::vector<AuthChallenge>& challenges, const Secret& rejected,
                       Done done);
  // The same error with where to log in.
  Error WithHint(Error error) const;

 private:
  enum class Scheme { kNone, kBasic, kBearer };
  struct Token {
    Secret authorization;  // "Bearer …"; empty: none yet
    TimePoint expires;
    std::string challenged_scope;  // what the registry asked for beyond our scopes
    bool fetching = false;
    std::vector<Done> waiters;
  };
  struct TokenAnswer {
    HttpRequest request;
    int hops = 0;
    HttpResult result;
    std::string body;
    bool with_credential = false;
    bool too_large = false;
  };

  void AnswerBasic(const std::string& repository, const Secret& rejected, const Done& done);
  void GetToken(const AuthScopes& scopes, const std::string& repository, Done done);
  void FetchToken(const AuthScopes& scopes, const Credential& credential);
  void SendTokenRequest(const AuthScopes& scopes, HttpRequest request, bool with_credential,
                        int hops);
  bool FollowRedirect(const AuthScopes& scopes, const TokenAnswer& answer);
  void OnToken(const AuthScopes& scopes, const TokenAnswer& answer);
  void FinishToken(const AuthScopes& scopes, const Result<Secret>& outcome);
  Result<HttpRequest> TokenRequest(const Token& token, const AuthScopes& scopes,
                                   const Credential& credential) const;
  // Looks the credential up where it is not known yet; `fresh` looks again.
  void WithCredential(const std::string& repository, bool fresh,
                      std::function<void(Result<Credential>)> use);

  const Context context_;
  const std::string registry_;
  const bool secure_;
  Scheme scheme_ = Scheme::kNone;
  std::string realm_;
  std::string service_;
  std::map<AuthScopes, Token> tokens_;
  std::map<std::string, Credential> credentials_;  // by repository
  std::string problem_;                            // of the last look-up
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// RegistryHost: one registry server. A call to it is one logical HTTP request: authentication, the
// refreshing of a token, and redirects to object stores happen inside. Retrying does not.
// Thread-safe; callbacks run on the HTTP loop thread and must not block.
//
// Invariants:
//   1. The Authorization header goes to the registry's own origin (scheme, host, port) only.
//   2. A redirect is remembered per key until it fails; then the registry is asked anew, once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fetch/authenticator.h"
#include "fetch/endpoint_health.h"
#include "fetch/http_client.h"
#include "index/base/error.h"

namespace layerfs {

struct RegistryCall {
  std::string method = "GET";
  std::string url;  // absolute
  std::vector<std::pair<std::string, std::string>> headers;
  HttpBody body;
  FetchClass fetch_class = FetchClass::kDemand;
  std::chrono::milliseconds timeout{0};  // of each of its HTTP requests; 0: only the stall limit
  // To the answer's first byte, where that is sooner than the stall limit.
  std::chrono::milliseconds silence_timeout = std::chrono::milliseconds::max();
  AuthScopes scopes;
  std::string repository;    // whose credentials
  std::string redirect_key;  // not empty: remember where a redirect of this GET leads
};

struct RegistryResult {
  // Of the last HTTP request. The status is an error for every answer but 2xx, too.
  HttpResult http;
  std::string error_body;  // of an answer that is no 2xx; bounded
  std::optional<std::chrono::milliseconds> retry_after;
};

struct RegistrySink {
  // Of the final answer, where it is a 2xx; see HttpSink.
  std::function<bool(const HttpHead&)> on_head;
  std::function<BodyFlow(ByteSpan)> on_data;
  std::function<void(uint64_t)> on_sent;
  std::function<void(const RegistryResult&)> on_done;  // exactly once
};

class RegistryExchange;

class RegistryHost {
 public:
  using CallId = uint64_t;
  struct Options {
    std::string registry;  // as the user names it: "docker.io"
    std::string api_root;  // "https://registry-1.docker.io/v2"
    std::string unix_socket;
    std::string name_space;  // goes into each URL as "ns="; or empty
    std::vector<std::pair<std::string, std::string>> headers;
    std::shared_ptr<const HttpTls> tls;  // null: the client's
    std::chrono::milliseconds connect_timeout{0};
  };
  RegistryHost(Options options, Authenticator::Context context);
  ~RegistryHost();
  RegistryHost(const RegistryHost&) = delete;
  RegistryHost& operator=(const RegistryHost&) = delete;

  CallId Start(RegistryCall call, RegistrySink sink);
  void Cancel(CallId call);
  void Resume(CallId call);
  // Asks where the redirects lead to anew. Loop thread only.
  void ForgetRedirects() { redirects_.clear(); }
  // Ends all calls with kCancelled soon. Before the HTTP client is shut down.
  void CancelAll();

  const std::string& registry() const { return options_.registry; }
  // Where the API begins.
  std::string BaseUrl() const { return options_.api_root + "/"; }
  // Where `path` of a repository is ("manifests/v1").
  std::string UrlOf(const std::string& repository, const std::string& path) const;
  // Whether it is worth asking.
  EndpointHealth& health() { return health_; }

 private:
  friend class RegistryExchange;

  const Options options_;
  HttpClient* const http_;
  const Url base_;
  std::atomic<CallId> next_id_{1};
  EndpointHealth health_;
  // Loop thread only.
  Authenticator authenticator_;
  std::map<std::string, std::string> redirects_;  // key -> URL
  std::map<CallId, std::shared_ptr<RegistryExchange>> calls_;
};

}  // namespace layerfs

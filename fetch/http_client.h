// SPDX-License-Identifier: Apache-2.0
// HttpClient: the only door to libcurl. Requests run on one event-loop thread ("lf-http") with
// keep-alive and, over TLS, HTTP/2; bodies stream both ways. Redirects and authentication are not
// its business: it delivers what the server says.
// Thread-safe. Callbacks run on the loop thread and must not block; they may call every method.
//
// Invariants:
//   1. on_done is called exactly once for each Start, last, never from inside Start or Cancel
//      (but for a client that has been shut down).
//   2. Everything that touches a libcurl handle happens on the loop thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fetch/blob_source.h"
#include "fetch/http_message.h"
#include "fetch/http_tls.h"
#include "fetch/image_store.h"
#include "fetch/secret.h"
#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

// A request's body: `text`, or [offset, offset + size) of the file `fd`, which stays open until
// on_done.
struct HttpBody {
  std::string text;
  int fd = -1;
  uint64_t offset = 0;
  uint64_t size = 0;  // of the part of `fd`
  uint64_t total() const { return fd >= 0 ? size : text.size(); }
};

struct HttpRequest {
  std::string method = "GET";  // POST, PUT and PATCH send `body`, the others have none
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  Secret authorization;  // the Authorization header's value; empty: none
  HttpBody body;
  FetchClass fetch_class = FetchClass::kDemand;
  std::chrono::milliseconds timeout{0};  // for the whole exchange; 0: only the stall limit
  // To the answer's first byte, where that is sooner than the stall limit.
  std::chrono::milliseconds silence_timeout = std::chrono::milliseconds::max();
  std::string unix_socket;                       // path; empty: TCP
  std::shared_ptr<const HttpTls> tls;            // null: the client's
  std::chrono::milliseconds connect_timeout{0};  // 0: the client's
};

struct HttpResult {
  Status status;  // of the transfer: an HTTP 500 that came in whole is a success here
  HttpHead head;
  std::chrono::microseconds first_byte{0};  // from the request's start; body, or head without one
  std::chrono::microseconds total{0};
  uint64_t body_bytes = 0;
  bool new_connection = false;
};

enum class BodyFlow {
  kTaken,  // go on
  kFull,   // not taken: the same bytes come again after Resume
  kStop,   // end the transfer with kCancelled
};

struct HttpSink {
  // The final response's head, before its body; false ends the transfer with kCancelled.
  std::function<bool(const HttpHead&)> on_head;
  std::function<BodyFlow(ByteSpan)> on_data;
  std::function<void(uint64_t)> on_sent;  // bytes of the request's body sent so far
  std::function<void(const HttpResult&)> on_done;
};

struct HttpClientOptions {
  TlsOptions tls;
  std::chrono::milliseconds connect_timeout{10'000};
  // A transfer that moves fewer bytes than this in that time has stalled: kTimeout, retryable.
  // The two together tell a slow link from a dead one.
  std::chrono::milliseconds stall_timeout{15'000};
  uint64_t stall_bytes = 1024;
  // How long a server may take to answer once it has a request's whole body: registries check and
  // move what was uploaded.
  std::chrono::milliseconds answer_timeout{300'000};
};

class HttpClient {
 public:
  using RequestId = uint64_t;

  static Result<std::unique_ptr<HttpClient>> Create(HttpClientOptions options);
  static Result<std::shared_ptr<const HttpTls>> MakeTls(const HttpTlsOptions& options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  RequestId Start(HttpRequest request, HttpSink sink);
  // Makes it end soon with kCancelled; no-op when it has ended.
  void Cancel(RequestId request);
  // Goes on after BodyFlow::kFull.
  void Resume(RequestId request);
  // Runs `task` on the loop thread, outside of every callback; false once the client is shut down.
  bool Post(std::function<void()> task);
  // Ends every transfer with kCancelled and joins the loop thread. Not from a callback.
  void Shutdown();

 private:
  class Loop;
  explicit HttpClient(std::unique_ptr<Loop> loop);

  std::unique_ptr<Loop> loop_;
  std::atomic<RequestId> next_id_{1};
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// FakeServer: an HTTP server on a loopback socket that does what a test's handler says,
// misbehaviour included, and records what it was asked.
// Thread-safe. The handler runs on the connections' threads, one call at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fetch/http_message.h"
#include "index/base/file.h"
#include "index/base/synchronized.h"

namespace layerfs {

struct FakeRequest {
  std::string method;
  std::string target;  // path and query
  HttpHeaders headers;
  std::string body;
  int connection = 0;  // which connection of the server carried it, from 1 on
};

struct FakeResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  // Misbehaviour.
  std::chrono::milliseconds delay{0};        // before the head
  std::optional<size_t> cut_after;           // close after so many bytes of the body
  std::optional<size_t> stall_after;         // say nothing more after so many bytes
  std::optional<size_t> claimed_length;      // in Content-Length
  size_t piece_bytes = 0;                    // send the body in pieces,
  std::chrono::milliseconds piece_delay{0};  // with this between them
  bool chunked = false;                      // Transfer-Encoding: chunked, no Content-Length
  bool until_close = false;                  // neither: the body ends with the connection
  bool close_without_answer = false;
  bool close_after = false;  // close the connection after the answer, without saying so before
  std::string preamble;      // bytes before the head; without a status that is all that is sent
  bool preamble_without_end = false;             // again and again, and nothing else
  std::chrono::milliseconds head_byte_delay{0};  // between the bytes of the head
  // How HTTP/2 ends after `cut_after` bytes.
  enum class Http2End { kConnection, kReset, kStream, kGoAway, kGoAwayGently };
  Http2End http2_end = Http2End::kConnection;
  bool without_end = false;  // the body again and again
};

class TestTls;  // tests/fetch/test_tls.h

class FakeServer {
 public:
  using Handler = std::function<FakeResponse(const FakeRequest&)>;
  struct Options {
    TestTls* tls = nullptr;  // null: plain
    bool ipv6 = false;
    std::string unix_path;  // a unix socket instead
    bool http2 = false;     // and nothing else; wants TLS
  };
  explicit FakeServer(Handler handler) : FakeServer(std::move(handler), Options()) {}
  FakeServer(Handler handler, Options options);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  int port() const { return port_; }
  std::string authority() const;  // "127.0.0.1:PORT"
  std::string url() const;        // "http://127.0.0.1:PORT"

  std::vector<FakeRequest> requests() const;
  // "GET /path" of each request.
  std::vector<std::string> lines() const;
  // How many requests of the method have a target that begins so.
  size_t Count(std::string_view method, std::string_view target_prefix) const;
  int connections() const { return connections_; }
  // Closes the connections that are open, as a server does with idle ones.
  void DropConnections();
  // No longer accepts, and closes what is open.
  void Stop();

 private:
  class Connection;
  void Accept();
  void Serve(Connection& connection);
  void ServeHttp2(Connection& connection);
  bool Answer(Connection& connection, const FakeRequest& request, const FakeResponse& response);
  bool SendHead(Connection& connection, const FakeResponse& response);
  bool SendBody(Connection& connection, const FakeResponse& response);
  void Sleep(std::chrono::milliseconds duration);

  struct State {
    std::vector<FakeRequest> requests;
    std::list<std::shared_ptr<Connection>> open;
    std::vector<std::thread> threads;
    bool stopping = false;
  };
  const Handler handler_;
  const Options options_;
  UniqueFd listener_;
  int port_ = 0;
  std::atomic<int> connections_{0};
  mutable Synchronized<State> state_;
  Synchronized<int> handler_lock_;
  std::thread accept_thread_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tests/fetch/fake_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <stdexcept>

#include "tests/fetch/fake_http2.h"
#include "tests/fetch/test_tls.h"

namespace layerfs {

// One accepted connection: plain or TLS, read line by line.
class FakeServer::Connection {
 public:
  Connection(int fd, int number) : number(number), fd_(fd) {}
  ~Connection() {
    if (ssl_ != nullptr) SSL_free(ssl_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool StartTls(TestTls& tls) {
    ssl_ = tls.Accept(fd_.get());
    return ssl_ != nullptr;
  }

  bool ReadLine(std::string* line) {
    size_t end;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!Fill()) return false;
      // A TLS handshake on a plain port, answered as servers do.
      if (buffer_[0] == 0x16) return Write("HTTP/1.0 400 Bad Request\r\n\r\n") && false;
    }
    *line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return true;
  }
  bool Read(size_t size, std::string* out) {
    while (buffer_.size() < size) {
      if (!Fill()) return false;
    }
    *out = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return true;
  }
  bool Write(std::string_view data) {
    while (!data.empty()) {
      const ssize_t sent = ssl_ != nullptr
                               ? SSL_write(ssl_, data.data(), static_cast<int>(data.size()))
                               : send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      data.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Both ends see it; the descriptor stays until the connection's thread is through.
  void Shut() const { shutdown(fd_.get(), SHUT_RDWR); }

  const int number;

 private:
  bool Fill() {
    char piece[16384];
    const ssize_t got = ssl_ != nullptr ? SSL_read(ssl_, piece, sizeof piece)
                                        : recv(fd_.get(), piece, sizeof piece, 0);
    if (got <= 0) return false;
    buffer_.append(piece, static_cast<size_t>(got));
    return true;
  }

  UniqueFd fd_;
  SSL* ssl_ = nullptr;
  std::string buffer_;
};

namespace {

UniqueFd Listen(const FakeServer::Options& options, int* port) {
  sockaddr_storage storage{};
  socklen_t length;
  int family;
  if (!options.unix_path.empty()) {
    auto& address = reinterpret_cast<sockaddr_un&>(storage);
    family = address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, options.unix_path.c_str(), sizeof address.sun_path - 1);
    length = sizeof address;
  } else if (options.ipv6) {
    auto& address = reinterpret_cast<sockaddr_in6&>(storage);
    family = address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    length = sizeof address;
  } else {
    auto& address = reinterpret_cast<sockaddr_in&>(storage);
    family = address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    length = sizeof address;
  }
  UniqueFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), length) != 0 ||
      listen(fd.get(), 64) != 0) {
    throw std::runtime_error("cannot listen on a loopback socket");
  }
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &length);
  *port = ntohs(options.ipv6 ? reinterpret_cast<sockaddr_in6&>(storage).sin6_port
                             : reinterpret_cast<sockaddr_in&>(storage).sin_port);
  return fd;
}

}  // namespace

FakeServer::FakeServer(Handler handler, Options options)
    : handler_(std::move(handler)), options_(std::move(options)) {
  std::signal(SIGPIPE, SIG_IGN);  // SSL_write has no MSG_NOSIGNAL.
  if (options_.http2) options_.tls->SpeakHttp2();
  listener_ = Listen(options_, &port_);
  accept_thread_ = std::thread([this] { Accept(); });
}

FakeServer::~FakeServer() { Stop(); }

void FakeServer::Stop() {
  if (!accept_thread_.joinable()) return;
  state_.WithNotify([](State& state) { state.stopping = true; });
  shutdown(listener_.get(), SHUT_RDWR);
  accept_thread_.join();
  listener_.Reset();
  DropConnections();
  std::vector<std::thread> threads;
  state_.With([&](State& state) { threads.swap(state.threads); });
  for (std::thread& thread : threads) thread.join();
}

void FakeServer::DropConnections() {
  state_.With([](State& state) {
    for (const auto& connection : state.open) connection->Shut();
  });
}

std::string FakeServer::authority() const {
  return (options_.ipv6 ? "[::1]:" : "127.0.0.1:") + std::to_string(port_);
}
std::string FakeServer::url() const {
  return (options_.tls != nullptr ? "https://" : "http://") + authority();
}

std::vector<FakeRequest> FakeServer::requests() const {
  return state_.With([](const State& state) { return state.requests; });
}

std::vector<std::string> FakeServer::lines() const {
  std::vector<std::string> lines;
  for (const FakeRequest& request : requests()) {
    lines.push_back(request.method + " " + request.target);
  }
  return lines;
}

size_t FakeServer::Count(std::string_view method, std::string_view target_prefix) const {
  size_t count = 0;
  for (const FakeRequest& request : requests()) {
    if (request.method == method && request.target.starts_with(target_prefix)) ++count;
  }
  return count;
}

void FakeServer::Accept() {
  while (true) {
    const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    auto connection = std::make_shared<Connection>(fd, ++connections_);
    state_.With([&](State& state) {
      state.open.push_back(connection);
      state.threads.emplace_back([this, connection] {
        if (options_.tls == nullptr || connection->StartTls(*options_.tls)) {
          options_.http2 ? ServeHttp2(*connection) : Serve(*connection);
        }
        connection->Shut();
        state_.With([&](State& later) { later.open.remove(connection); });
      });
    });
  }
}

void FakeServer::Serve(Connection& connection) {
  std::string line;
  while (connection.ReadLine(&line)) {
    FakeRequest request;
    request.connection = connection.number;
    const size_t first = line.find(' ');
    const size_t second = line.find(' ', first + 1);
    request.method = line.substr(0, first);
    request.target = line.substr(first + 1, second - first - 1);
    while (connection.ReadLine(&line) && !line.empty()) {
      const size_t colon = line.find(':');
      request.headers.Add(line.substr(0, colon), line.substr(colon + 1));
    }
    const auto length = ParseDecimal(request.headers.Get("Content-Length")).value_or(0);
    const bool waits = request.headers.Get("Expect") == "100-continue";
    if (!waits && !connection.Read(length, &request.body)) return;
    FakeResponse response = handler_lock_.With([&](int&) { return handler_(request); });
    // As real servers do: a no comes before the body, a yes after it.
    const bool early = waits && (response.status >= 300 || response.close_without_answer);
    if (waits && !early) {
      if (!connection.Write("HTTP/1.1 100 Continue\r\n\r\n")) return;
      if (!connection.Read(length, &request.body)) return;
      response = handler_lock_.With([&](int&) { return handler_(request); });
    }
    state_.With([&](State& state) { state.requests.push_back(request); });
    if (!Answer(connection, request, response)) return;
    if (early) return;  // What of the body is on its way cannot be told from a request.
  }
}

void FakeServer::ServeHttp2(Connection& connection) {
  FakeHttp2 session(
      {.read = [&](size_t size, std::string* out) { return connection.Read(size, out); },
       .write = [&](std::string_view data) { return connection.Write(data); },
       .sleep = [&](std::chrono::milliseconds duration) { Sleep(duration); }},
      [&](FakeRequest request) {
        request.connection = connection.number;
        state_.With([&](State& state) { state.requests.push_back(request); });
        return handler_lock_.With([&](int&) { return handler_(request); });
      });
  session.Serve();
}

bool FakeServer::Answer(Connection& connection, const FakeRequest& request,
                        const FakeResponse& response) {
  Sleep(response.delay);
  if (response.close_without_answer) return false;
  do {
    if (!connection.Write(response.preamble)) return false;
  } while (response.preamble_without_end);
  if (response.status == 0 || !SendHead(connection, response)) return false;
  if (request.method != "HEAD" && !SendBody(connection, response)) return false;
  return !response.close_after && !response.until_close;
}

bool FakeServer::SendHead(Connection& connection, const FakeResponse& response) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " Status\r\n";
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  const size_t length = response.claimed_length.value_or(response.body.size());
  if (response.chunked) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (response.until_close) {
    head += "Connection: close\r\n";
  } else if (response.status != 204) {
    head += "Content-Length: " + std::to_string(length) + "\r\n";
  }
  head += "\r\n";
  if (response.head_byte_delay == std::chrono::milliseconds::zero()) return connection.Write(head);
  for (const char byte : head) {
    Sleep(response.head_byte_delay);
    if (!connection.Write({&byte, 1})) return false;
  }
  return true;
}

namespace {

std::string Framed(std::string_view piece, bool chunked) {
  if (!chunked) return std::string(piece);
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
  return size + std::string(piece) + "\r\n";
}

}  // namespace

bool FakeServer::SendBody(Connection& connection, const FakeResponse& response) {
  const size_t stop =
      std::min(response.cut_after.value_or(SIZE_MAX), response.stall_after.value_or(SIZE_MAX));
  const std::string_view body = std::string_view(response.body).substr(0, stop);
  const size_t piece = response.piece_bytes == 0 ? body.size() : response.piece_bytes;
  for (size_t sent = 0; sent < body.size(); sent += piece) {
    if (sent > 0) Sleep(response.piece_delay);
    if (!connection.Write(Framed(body.substr(sent, piece), response.chunked))) return false;
  }
  while (response.without_end) {
    if (!connection.Write(Framed(response.body, response.chunked))) return false;
  }
  if (response.stall_after && *response.stall_after < response.body.size()) {
    Sleep(std::chrono::hours(1));  // or until the server stops
    return false;
  }
  if (response.chunked && !response.cut_after && !connection.Write("0\r\n\r\n")) return false;
  return !response.cut_after;
}

void FakeServer::Sleep(std::chrono::milliseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < end) {
    if (state_.With([](const State& state) { return state.stopping; })) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace layerfs

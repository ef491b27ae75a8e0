// SPDX-License-Identifier: Apache-2.0
#include "tools/status_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "fs/namespace_ids.h"
#include "index/base/digest.h"
#include "tools/run/user_namespace.h"

namespace layerfs {
namespace {

constexpr size_t kMaxRequestBytes = 8192;
constexpr size_t kMaxAnswerBytes = size_t{16} << 20;
// A client that dawdles holds up the others only so long: with its request, and with the answer.
constexpr std::chrono::milliseconds kClientLimit{1'000};
// How long a server may take that others ask as well.
constexpr std::chrono::milliseconds kServerLimit{5'000};
constexpr int kBacklog = 16;
// After a client that could not be let in for want of a descriptor.
constexpr std::chrono::milliseconds kAcceptPause{100};

Result<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Fail(ErrorCode::kInvalidArgument, "socket " + path + ": the path is too long");
  }
  path.copy(address.sun_path, path.size());
  return address;
}

Result<UniqueFd> ConnectUnix(const std::string& path) {
  LAYERFS_TRY(address, UnixAddress(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return FailErrno("socket", errno);
  // A listener whose queue is full lets nobody in until it has answered somebody.
  const timeval patience{.tv_sec = std::chrono::floor<std::chrono::seconds>(kServerLimit).count(),
                         .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket.get(), raw, sizeof address) != 0) return FailErrno("socket " + path, errno);
  return socket;
}

// One direction of a conversation, which as a whole has so much time.
class TimedSocket {
 public:
  // `stop`: what ends it early by becoming readable; or -1.
  TimedSocket(int socket, int stop, std::chrono::milliseconds limit)
      : socket_(socket), stop_(stop), end_(std::chrono::steady_clock::now() + limit) {}

  bool SendAll(std::string_view text) {
    while (!text.empty() && Ready(POLLOUT)) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EAGAIN) continue;
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return text.empty();
  }

  // Until `enough(text)` or the end.
  template <typename Enough>
  std::string ReceiveUntil(size_t limit, Enough enough) {
    std::string text;
    char buffer[4096];
    while (text.size() < limit && !enough(text) && Ready(POLLIN)) {
      const ssize_t got = ::recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) break;
      text.append(buffer, static_cast<size_t>(got));
    }
    return text;
  }

 private:
  bool Ready(short events) const {
    pollfd waits[] = {{socket_, events, 0}, {stop_, POLLIN, 0}};
    int ready = -1;
    do {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now());
      if (left.count() <= 0) break;
      ready = ::poll(waits, std::size(waits), static_cast<int>(left.count()));
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) errno = ETIMEDOUT;
    return ready > 0 && waits[1].revents == 0;
  }

  const int socket_;
  const int stop_;
  const std::chrono::steady_clock::time_point end_;
};

void Signal(int event) {
  const uint64_t one = 1;
  static_cast<void>(::write(event, &one, sizeof one));
}

std::string RuntimeDirectory() {
  if (IsMachineRoot()) return "/run/layerfs";
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/') return std::string(runtime) + "/layerfs";
  // Root of a user namespace and the user outside of it are one.
  const uid_t user = ::geteuid();
  return "/tmp/layerfs-" +
         std::to_string(NamespaceIds::OfThisProcess().UserOutside(user).value_or(user));
}

}  // namespace

StatusServer::~StatusServer() {
  if (thread_.joinable()) {
    Signal(stop_.get());
    thread_.join();
  }
  for (const std::string& path : socket_paths_) ::unlink(path.c_str());
}

Status StatusServer::Listen(const std::string& address) {
  constexpr std::string_view kUnix = "unix:";
  if (address.starts_with(kUnix)) return ListenUnix(address.substr(kUnix.size()));
  return ListenTcp(address);
}

Status StatusServer::ListenUnix(const std::string& path) {
  LAYERFS_TRY(address, UnixAddress(path));
  if (ConnectUnix(path).has_value()) {
    return Fail(ErrorCode::kBusy, "socket " + path + ": somebody listens there already");
  }
  struct stat there;
  if (::lstat(path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode)) return FailErrno("socket " + path, EEXIST);
    ::unlink(path.c_str());
  }
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return FailErrno("socket", errno);
  ::fchmod(socket.get(), 0600);  // Before it has a name: the file gets this mode.
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(socket.get(), raw, sizeof address) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return FailErrno("socket " + path, errno);
  }
  // A daemon leaves the directory that the path is from before it removes the socket.
  std::error_code error;
  socket_paths_.push_back(std::filesystem::absolute(path, error));
  listeners_.push_back(std::move(socket));
  return {};
}

Status StatusServer::ListenTcp(const std::string& address) {
  const size_t colon = address.rfind(':');
  in_addr host{};
  char* end = nullptr;
  const char* digits = colon == std::string::npos ? "" : address.c_str() + colon + 1;
  const unsigned long port = std::strtoul(digits, &end, 10);
  if (*digits == '\0' || *end != '\0' || port > 65535 ||
      ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &host) != 1) {
    return Fail(ErrorCode::kInvalidArgument,
                "address " + address + ": write unix:PATH or 127.0.0.1:PORT");
  }
  // What is read where tells a lot: not for other machines.
  if ((ntohl(host.s_addr) >> 24) != 127) {
    return Fail(ErrorCode::kInvalidArgument, "address " + address + ": is not on the loopback");
  }
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return FailErrno("socket", errno);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr = host;
  name.sin_port = htons(static_cast<uint16_t>(port));
  const auto* raw = reinterpret_cast<const sockaddr*>(&name);
  if (::bind(socket.get(), raw, sizeof name) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return FailErrno("address " + address, errno);
  }
  listeners_.push_back(std::move(socket));
  return {};
}

Status StatusServer::Start() {
  wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!wake_.valid() || !stop_.valid()) return FailErrno("eventfd", errno);
  spare_ = UniqueFd(::fcntl(wake_.get(), F_DUPFD_CLOEXEC, 0));
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "lf-status");
  return {};
}

void StatusServer::Nudge() const { Signal(wake_.get()); }

void StatusServer::Run() {
  std::vector<pollfd> waits{{wake_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  const size_t first_listener = waits.size();
  for (const UniqueFd& listener : listeners_) waits.push_back({listener.get(), POLLIN, 0});
  using std::chrono::milliseconds;
  using std::chrono::steady_clock;
  std::optional<steady_clock::time_point> chore_due;
  if (chore_) chore_due = steady_clock::now();
  while (true) {
    int timeout_ms = -1;
    if (chore_due.has_value()) {
      const auto left = std::chrono::ceil<milliseconds>(*chore_due - steady_clock::now());
      timeout_ms = static_cast<int>(std::max(left, milliseconds(0)).count());
    }
    const int ready = ::poll(waits.data(), waits.size(), timeout_ms);
    if (ready < 0 && errno != EINTR) return;
    if (ready > 0 && waits[1].revents != 0) return;
    const bool nudged = ready > 0 && waits[0].revents != 0;
    if (nudged) {
      uint64_t nudges = 0;
      static_cast<void>(::read(wake_.get(), &nudges, sizeof nudges));
    }
    const auto now = steady_clock::now();
    if (chore_ && (nudged || (chore_due.has_value() && *chore_due <= now))) {
      const auto again = chore_();
      chore_due = again.has_value() ? std::optional(now + *again) : std::nullopt;
    }
    if (ready <= 0) continue;
    for (size_t i = first_listener; i < waits.size(); ++i) {
      if (waits[i].revents != 0) Accept(waits[i].fd);
    }
  }
}

void StatusServer::Accept(int listener) {
  UniqueFd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection.valid() && (errno == EMFILE || errno == ENFILE)) {
    // Whoever asks stays in the listener's queue and would keep the thread turning.
    spare_.Reset();
    connection = UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  }
  if (connection.valid()) {
    Answer(connection.get());
  } else {
    std::this_thread::sleep_for(kAcceptPause);
  }
  connection.Reset();
  if (!spare_.valid()) spare_ = UniqueFd(::fcntl(wake_.get(), F_DUPFD_CLOEXEC, 0));
}

void StatusServer::Answer(int connection) const {
  TimedSocket asking(connection, stop_.get(), kClientLimit);
  const std::string request = asking.ReceiveUntil(kMaxRequestBytes, [](const auto& text) {
    return text.find("\r\n\r\n") != std::string::npos;
  });
  std::optional<StatusPage> page;
  const size_t path_end = request.find(' ', 4);
  if (request.starts_with("GET /") && path_end != std::string::npos) {
    const std::string_view target = std::string_view(request).substr(4, path_end - 4);
    page = pages_(target.substr(0, target.find('?')));
  }
  const StatusPage& sent = page.has_value() ? *page : StatusPage{"text/plain", "no such page\n"};
  TimedSocket answering(connection, stop_.get(), kClientLimit);
  answering.SendAll(std::string("HTTP/1.0 ") + (page.has_value() ? "200 OK" : "404 Not Found") +
                    "\r\nContent-Type: " + sent.type + "\r\nContent-Length: " +
                    std::to_string(sent.body.size()) + "\r\nConnection: close\r\n\r\n" + sent.body);
}

Result<std::string> FetchStatusPage(const std::string& socket_path, const std::string& path) {
  LAYERFS_TRY(socket, ConnectUnix(socket_path));
  TimedSocket server(socket.get(), -1, kServerLimit);
  if (!server.SendAll("GET " + path + " HTTP/1.0\r\n\r\n")) {
    return FailErrno("socket " + socket_path, errno);
  }
  const std::string answer =
      server.ReceiveUntil(kMaxAnswerBytes, [](const auto&) { return false; });
  const size_t body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.0 200") || body == std::string::npos) {
    return Fail(ErrorCode::kIo, "socket " + socket_path + ": does not answer");
  }
  return answer.substr(body + 4);
}

Result<UniqueFd> FindStatusServer(const std::string& socket_path) {
  LAYERFS_TRY(socket, ConnectUnix(socket_path));
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return FailErrno("socket " + socket_path, errno);
  }
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!process.valid()) return FailErrno("process " + std::to_string(peer.pid), errno);
  return process;
}

Result<std::string> ControlSocketPath(const std::string& mount_point, bool make_directory) {
  const std::string directory = RuntimeDirectory();
  if (make_directory) LAYERFS_CHECK_OK(MakeDirectories(directory, 0700));
  struct stat attributes;
  if (::lstat(directory.c_str(), &attributes) != 0) return FailErrno(directory, errno);
  if (!S_ISDIR(attributes.st_mode) || attributes.st_uid != ::geteuid() ||
      (attributes.st_mode & 077) != 0) {
    return Fail(ErrorCode::kPermission,
                directory + ": is not a directory of this user alone (mode 0700)");
  }
  return directory + "/" + Digest::Of(AsBytes(mount_point)).Hex().substr(0, 32) + ".sock";
}

}  // namespace layerfs

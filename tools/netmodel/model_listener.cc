// SPDX-License-Identifier: Apache-2.0
#include "tools/netmodel/model_listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace layerfs {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

Result<UniqueFd> BindLoopback(int port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return FailErrno("bind 127.0.0.1:" + std::to_string(port), errno);
  }
  return fd;
}

Result<int> PortOf(const UniqueFd& fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return FailErrno("getsockname", errno);
  }
  return ntohs(address.sin_port);
}

Status ResolveUnix(const std::string& path, sockaddr_storage& address, socklen_t& size) {
  auto& own = reinterpret_cast<sockaddr_un&>(address);
  if (path.empty() || path.size() >= sizeof own.sun_path) {
    return Fail(ErrorCode::kInvalidArgument, "unix socket \"" + path + "\": too long or empty");
  }
  own.sun_family = AF_UNIX;
  std::memcpy(own.sun_path, path.c_str(), path.size() + 1);
  size = sizeof own;
  return {};
}

Status ResolveTcp(const std::string& target, sockaddr_storage& address, socklen_t& size) {
  const size_t colon = target.rfind(':');
  if (colon == std::string::npos) {
    return Fail(ErrorCode::kInvalidArgument,
                "upstream \"" + target + "\" is neither HOST:PORT nor unix:PATH");
  }
  std::string host = target.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), target.c_str() + colon + 1, &hints, &found);
  if (error != 0) {
    return Fail(ErrorCode::kNetwork, "upstream " + target + ": " + gai_strerror(error));
  }
  std::memcpy(&address, found->ai_addr, found->ai_addrlen);
  size = found->ai_addrlen;
  freeaddrinfo(found);
  return {};
}

}  // namespace

Result<ModelListener> ModelListener::Open(const std::string& target, int port) {
  ModelListener listener;
  listener.target_ = target;
  LAYERFS_CHECK_OK(target.starts_with(kUnixPrefix)
                       ? ResolveUnix(target.substr(kUnixPrefix.size()), listener.address_,
                                     listener.address_size_)
                       : ResolveTcp(target, listener.address_, listener.address_size_));
  LAYERFS_TRY(reserved, BindLoopback(port));
  LAYERFS_TRY(own_port, PortOf(reserved));
  listener.reserved_ = std::move(reserved);
  listener.port_ = own_port;
  LAYERFS_CHECK_OK(listener.Listen());
  return listener;
}

Status ModelListener::Listen() {
  if (listening_.valid()) return {};
  LAYERFS_TRY(fd, BindLoopback(port_));
  if (listen(fd.get(), SOMAXCONN) != 0) {
    return FailErrno("listen at 127.0.0.1:" + std::to_string(port_), errno);
  }
  listening_ = std::move(fd);
  return {};
}

UniqueFd ModelListener::Accept() const {
  return UniqueFd(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

Result<UniqueFd> ModelListener::Connect() const {
  UniqueFd fd(socket(address_.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return FailErrno("socket", errno);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address_), address_size_) != 0 &&
      errno != EINPROGRESS) {
    return FailErrno("connect to " + target_, errno);
  }
  return fd;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/run/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace layerfs {
namespace {

constexpr char kSocketName[] = "console.sock";

}  // namespace

Result<ConsoleSocket> ConsoleSocket::Listen(const std::string& directory) {
  ConsoleSocket console;
  LAYERFS_TRY(directory_fd, OpenFile(directory, O_PATH | O_DIRECTORY));
  console.directory_ = std::move(directory_fd);
  console.path_ = "/proc/" + std::to_string(::getpid()) + "/fd/" +
                  std::to_string(console.directory_.get()) + "/" + kSocketName;
  console.listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!console.listener_.valid()) return FailErrno("console socket", errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, console.path_.c_str(), sizeof address.sun_path - 1);
  ::unlinkat(console.directory_.get(), kSocketName, 0);
  if (::bind(console.listener_.get(), reinterpret_cast<const sockaddr*>(&address),
             sizeof address) != 0 ||
      ::listen(console.listener_.get(), 1) != 0) {
    return FailErrno(directory + "/" + kSocketName, errno);
  }
  return console;
}

ConsoleSocket::~ConsoleSocket() {
  if (directory_.valid()) ::unlinkat(directory_.get(), kSocketName, 0);
}

Result<UniqueFd> ConsoleSocket::Receive() {
  const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection.valid()) return FailErrno("console socket", errno);
  std::array<char, 4096> name{};
  iovec data{name.data(), name.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(connection.get(), &message, MSG_CMSG_CLOEXEC) < 0) {
    return FailErrno("console socket", errno);
  }
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return Fail(ErrorCode::kIo, "console socket: the runtime sent no terminal");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

RawTerminal::RawTerminal(int fd) {
  if (::tcgetattr(fd, &before_) != 0) return;
  termios raw = before_;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSANOW, &raw) == 0) fd_ = fd;
}

RawTerminal::~RawTerminal() {
  if (fd_ >= 0) ::tcsetattr(fd_, TCSANOW, &before_);
}

void CopyWindowSize(int to) {
  for (const int from : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    winsize size{};
    if (::ioctl(from, TIOCGWINSZ, &size) != 0) continue;
    ::ioctl(to, TIOCSWINSZ, &size);
    return;
  }
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tests/fetch/real_registry.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr char kProgram[] = "/usr/bin/docker-registry";

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int FreePort() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof address;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return 0;
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

bool Answers(int port) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(port);
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

bool RealRegistry::Available() { return access(kProgram, X_OK) == 0; }

RealRegistry::RealRegistry(const TestTls* tls) : port_(FreePort()) {
  std::string text =
      "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: " +
      (directory_ / "storage") + "\n  delete:\n    enabled: true\nhttp:\n  addr: " + authority() +
      "\n";
  if (tls != nullptr) {
    text +=
        "  tls:\n    certificate: " + tls->server_cert() + "\n    key: " + tls->server_key() + "\n";
  }
  const std::string config = directory_.Write("config.yml", text);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const std::string log = directory_ / "log";
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  std::string words[] = {kProgram, "serve", config};
  char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  if (posix_spawn(&pid_, kProgram, &actions, nullptr, arguments, environ) != 0) pid_ = -1;
  posix_spawn_file_actions_destroy(&actions);
  for (int i = 0; i < 1000 && pid_ > 0; ++i) {
    if (Answers(port_)) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (pid_ > 0) kill(pid_, SIGKILL);
  pid_ = -1;
}

RealRegistry::~RealRegistry() {
  if (pid_ <= 0) return;
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

}  // namespace layerfs

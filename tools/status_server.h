// SPDX-License-Identifier: Apache-2.0
// StatusServer: the door through which a mount tells of itself: GET over HTTP/1.0, one connection
// at a time, on a unix socket or a loopback port. Prometheus' own library cannot listen on a unix
// socket, and brings a web server for what are forty lines here.
// A client that does not come to its point is let go after a second, so that the next one and the
// chores get their turn; still, who shall not wait for other people's clients has a server of his
// own.
// Thread-safe. Pages are made on its thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

struct StatusPage {
  std::string type;  // media type
  std::string body;
};

class StatusServer {
 public:
  // Nothing: there is no such page.
  using Pages = std::function<std::optional<StatusPage>(std::string_view path)>;
  explicit StatusServer(Pages pages) : pages_(std::move(pages)) {}
  // Ends its thread, whoever it is talking to, and removes its sockets.
  ~StatusServer();
  StatusServer(const StatusServer&) = delete;
  StatusServer& operator=(const StatusServer&) = delete;

  // "unix:PATH" (mode 0600; what a dead process left there is replaced) or "ADDRESS:PORT" of the
  // loopback. Before Start.
  Status Listen(const std::string& address);
  // Called on its thread at first, after each Nudge, and again after the time that it says, if any.
  // Before Start.
  using Chore = std::function<std::optional<std::chrono::milliseconds>()>;
  void SetChore(Chore chore) { chore_ = std::move(chore); }
  Status Start();
  // After Start; thread-safe and cheap.
  void Nudge() const;

 private:
  Status ListenUnix(const std::string& path);
  Status ListenTcp(const std::string& address);
  void Run();
  void Accept(int listener);
  void Answer(int connection) const;

  const Pages pages_;
  Chore chore_;
  std::vector<UniqueFd> listeners_;
  std::vector<std::string> socket_paths_;
  UniqueFd wake_;
  UniqueFd stop_;
  UniqueFd spare_;  // given up to let a client in where there is no other descriptor
  std::thread thread_;
};

// GET `path` from the unix socket; kNotFound where nobody listens.
Result<std::string> FetchStatusPage(const std::string& socket_path, const std::string& path);

// The process that listens there, as a descriptor of pidfd_open(2); kNotFound where nobody does.
Result<UniqueFd> FindStatusServer(const std::string& socket_path);

// The socket of the mount on that directory (absolute), in a directory of the user's own that
// others cannot enter.
Result<std::string> ControlSocketPath(const std::string& mount_point, bool make_directory);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ModelListener: a port on 127.0.0.1 that leads to a server, and that can refuse for a while
// without losing its number.
// One thread at a time.
#pragma once

#include <sys/socket.h>

#include <string>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class ModelListener {
 public:
  // `target` as NetworkModel::AddUpstream takes it; resolves its name once.
  static Result<ModelListener> Open(const std::string& target, int port);

  int port() const { return port_; }
  int fd() const { return listening_.get(); }  // -1 while it refuses
  Status Listen();
  void Refuse() { listening_.Reset(); }
  // The next connection that waits, or an invalid descriptor.
  UniqueFd Accept() const;
  // A connection to the server, non-blocking, perhaps still on its way.
  Result<UniqueFd> Connect() const;

 private:
  ModelListener() = default;
  std::string target_;
  sockaddr_storage address_{};
  socklen_t address_size_ = 0;
  UniqueFd reserved_;  // bound and never listening: keeps the port ours
  UniqueFd listening_;
  int port_ = 0;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The container's terminal, and ours while it is connected to it.
// One thread at a time.
#pragma once

#include <termios.h>

#include <string>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

// Where the runtime hands over the container's terminal (runc, docs/terminals.md,
// "--console-socket").
class ConsoleSocket {
 public:
  // Makes the socket in `directory`, which may have a path longer than sockets can.
  static Result<ConsoleSocket> Listen(const std::string& directory);
  ~ConsoleSocket();
  ConsoleSocket(ConsoleSocket&&) = default;
  ConsoleSocket& operator=(ConsoleSocket&&) = delete;

  // For the runtime, which runs while this object lives.
  const std::string& path() const { return path_; }
  // The terminal's master, once the runtime has sent it.
  Result<UniqueFd> Receive();

 private:
  ConsoleSocket() = default;
  UniqueFd directory_;
  UniqueFd listener_;
  std::string path_;
};

// Our terminal passes every key on while this lives.
class RawTerminal {
 public:
  // Does nothing where `fd` is no terminal.
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  int fd_ = -1;
  termios before_{};
};

// Gives `to` the window size of the first of our standard streams that is a terminal.
void CopyWindowSize(int to);

}  // namespace layerfs

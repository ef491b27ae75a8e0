// SPDX-License-Identifier: Apache-2.0
// ChildProgram: another program, run for the benchmarks, with its output kept for errors.
// One thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class ChildProgram {
 public:
  // Found through PATH. Standard output and error go to `log` (appended), standard input is empty.
  static Result<ChildProgram> Start(const std::vector<std::string>& words, const std::string& log);
  ChildProgram(ChildProgram&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), log_(std::move(other.log_)) {}
  ChildProgram& operator=(ChildProgram&&) = delete;
  ~ChildProgram();  // Kills it.

  // Waits for its end; an error with its last words unless its status is 0. kTimeout where it has
  // not ended by then.
  Status Wait(std::chrono::milliseconds timeout);
  bool running();
  // SIGTERM, and SIGKILL where that has not ended it in ten seconds.
  void End();
  // The end of what it and others have written to its log.
  std::string LastWords() const;

 private:
  ChildProgram(int pid, std::string log) : pid_(pid), log_(std::move(log)) {}
  int pid_;
  std::string log_;
};

// Waits until a server that has been started answers, as `answers` says. kIo, with its last words,
// where it has ended or does not for ten seconds.
Status WaitForServer(ChildProgram& server, const std::function<bool()>& answers);
// Start and Wait; the error names the program.
Status RunProgram(const std::vector<std::string>& words, const std::string& log,
                  std::chrono::milliseconds timeout);
// A port on 127.0.0.1 that nobody listens on at this moment.
Result<int> FreePort();

}  // namespace layerfs

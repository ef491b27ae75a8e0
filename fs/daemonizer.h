// SPDX-License-Identifier: Apache-2.0
// Daemonizer: a process goes into the background while its parent waits to hear how that went, so
// that the shell's exit status tells whether the mount answers.
// Fork before any thread is made. One thread at a time.
#pragma once

#include <string>

#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class Daemonizer {
 public:
  // Forks. The child comes back from it, in a session of its own; the parent waits for the child's
  // word and ends with status 0, or prints `message_prefix` + the child's error and ends with its
  // status.
  static Result<Daemonizer> Fork(const std::string& message_prefix);

  // Leaves the caller's directory, stdin, stdout and stderr.
  static void LeaveCaller();

  // The child's word, once: "it works", and what the parent is to print …
  void ReportSuccess(const std::string& output = {});
  // … or what went wrong; `exit_status` becomes the parent's. Without either, the parent reports
  // that the child died. False where the parent has had a word already.
  bool ReportFailure(const std::string& message, int exit_status);

 private:
  explicit Daemonizer(UniqueFd to_parent) : to_parent_(std::move(to_parent)) {}
  UniqueFd to_parent_;
};

}  // namespace layerfs

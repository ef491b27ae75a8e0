// SPDX-License-Identifier: Apache-2.0
// ReadyCondition: when a start-up is over: a line of output that matches, a page that is served, or
// the task's end.
// A value.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "index/base/error.h"

namespace layerfs {

struct ReadyCondition {
  std::string pattern;  // POSIX extended regular expression, of a line of stdout or stderr
  std::string http;     // "http://HOST[:PORT][/PATH]" that answers with 2xx or 3xx
  bool exit = false;    // the task's end with status 0

  void Declare(CLI::App& app);
  // At most one may be given; none is `exit`.
  Status Check();
  // Before the task is started: that its page is not served already, by another program or by a
  // task before it that is not gone. It would be ready before it runs.
  Status CheckNotYet() const;
};

// One attempt: whether the URL is served. Never blocks longer than a second.
bool IsServed(const std::string& url);
// Whether the pattern can be one, and whether it matches.
Status CheckPattern(const std::string& pattern);
bool Matches(const std::string& pattern, const std::string& line);

}  // namespace layerfs

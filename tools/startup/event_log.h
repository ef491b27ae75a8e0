// SPDX-License-Identifier: Apache-2.0
// EventLog: what a mount did when, for `layerfs bench`: its first moments and every read, on the
// monotonic clock that all processes share.
// Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/file_reader.h"
#include "index/base/synchronized.h"

namespace layerfs {

// A line of the log. `event`: "resolved", "opened", "mounted", "pages", "through", "read".
struct LoggedEvent {
  double at = 0;  // seconds on the monotonic clock; a read's begin
  std::string event;
  uint64_t bytes = 0;
  double took = 0;      // of a read
  bool waited = false;  // likewise: something of it was not there
};

class EventLog {
 public:
  void Note(std::string_view event, uint64_t bytes);
  void NoteRead(const ReadReport& report);
  Status Write(const std::string& path) const;

 private:
  static constexpr size_t kMaxEvents = size_t{1} << 20;
  void Add(LoggedEvent event);
  Synchronized<std::vector<LoggedEvent>> events_;
};

Result<std::vector<LoggedEvent>> ReadEventLog(const std::string& path);
double MonotonicSeconds();

}  // namespace layerfs

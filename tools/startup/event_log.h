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
#include "fs/inode_paths.h"
#include "index/base/synchronized.h"

namespace layerfs {

// A line of the log. `event`: "resolved", "opened", "mounted", "pages", "through", "read".
struct LoggedEvent {
  double at = 0;  // seconds on the monotonic clock; a read's begin
  std::string event;
  uint64_t bytes = 0;
  double took = 0;      // of a read, as all that follows
  bool waited = false;  // something of it was not there
  std::string path;     // of the file, in the image
  uint64_t offset = 0;
};

class EventLog {
 public:
  void Note(std::string_view event, uint64_t bytes);
  void NoteRead(const ReadReport& report);
  // `paths` are those of the image that was read.
  Status Write(const std::string& path, InodePaths& paths) const;

 private:
  static constexpr size_t kMaxEvents = size_t{1} << 20;
  struct Entry {
    LoggedEvent event;
    InodeNumber file = kNoInode;  // whose path is not looked up while somebody waits
  };
  void Add(Entry entry);
  Synchronized<std::vector<Entry>> entries_;
};

Result<std::vector<LoggedEvent>> ReadEventLog(const std::string& path);
double MonotonicSeconds();

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/event_log.h"

#include <chrono>

#include "index/base/file.h"
#include "index/base/json.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxLogBytes = uint64_t{512} << 20;

}  // namespace

double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void EventLog::Add(Entry entry) {
  entries_.With([&](auto& entries) {
    if (entries.size() < kMaxEvents) entries.push_back(std::move(entry));
  });
}

void EventLog::Note(std::string_view event, uint64_t bytes) {
  Add({.event = {.at = MonotonicSeconds(), .event = std::string(event), .bytes = bytes}});
}

void EventLog::NoteRead(const ReadReport& report) {
  const double took = std::chrono::duration<double>(report.took).count();
  Add({.event = {.at = MonotonicSeconds() - took,
                 .event = "read",
                 .bytes = report.size,
                 .took = took,
                 .waited = report.waited,
                 .path = {},
                 .offset = report.offset},
       .file = report.inode});
}

Status EventLog::Write(const std::string& path, InodePaths& paths) const {
  std::string text;
  entries_.With([&](const auto& entries) {
    for (const auto& [event, file] : entries) {
      Json line = {{"at", event.at}, {"event", event.event}, {"bytes", event.bytes}};
      if (file != kNoInode) {
        line["took"] = event.took;
        line["waited"] = event.waited;
        line["path"] = paths.PathOf(file);
        line["offset"] = event.offset;
      }
      text += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    }
  });
  return WriteFileAtomically(path, AsBytes(text));
}

Result<std::vector<LoggedEvent>> ReadEventLog(const std::string& path) {
  LAYERFS_TRY(bytes, ReadFile(path, kMaxLogBytes));
  std::vector<LoggedEvent> events;
  std::string_view text = AsText(bytes);
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    LAYERFS_TRY_IN(line, ParseJson(AsBytes(text.substr(0, end)), kMaxLogBytes), path);
    LAYERFS_TRY_IN(event, JsonString(line, "event"), path);
    LAYERFS_TRY_IN(size, JsonUint(line, "bytes"), path);
    LoggedEvent logged;
    logged.at = line.value("at", 0.0);
    logged.event = std::move(event);
    logged.bytes = size;
    logged.took = line.value("took", 0.0);
    logged.waited = line.value("waited", false);
    logged.path = line.value("path", std::string());
    logged.offset = line.value("offset", uint64_t{0});
    events.push_back(std::move(logged));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return events;
}

}  // namespace layerfs

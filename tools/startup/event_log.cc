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

void EventLog::Add(LoggedEvent event) {
  events_.With([&](auto& events) {
    if (events.size() < kMaxEvents) events.push_back(std::move(event));
  });
}

void EventLog::Note(std::string_view event, uint64_t bytes) {
  Add({MonotonicSeconds(), std::string(event), bytes});
}

void EventLog::NoteRead(const ReadReport& report) {
  const double took = std::chrono::duration<double>(report.took).count();
  Add({MonotonicSeconds() - took, "read", report.size, took, report.waited});
}

Status EventLog::Write(const std::string& path) const {
  std::string text;
  events_.With([&](const auto& events) {
    for (const LoggedEvent& event : events) {
      const Json line = {{"at", event.at},
                         {"event", event.event},
                         {"bytes", event.bytes},
                         {"took", event.took},
                         {"waited", event.waited}};
      text += line.dump() + "\n";
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
    events.push_back(std::move(logged));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return events;
}

}  // namespace layerfs

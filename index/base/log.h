// SPDX-License-Identifier: Apache-2.0
// The log: one line an event on stderr, or in a file for a daemon. stdout is never touched. The
// only door to spdlog.
// Thread-safe.
//
// As text a line is the message, which names its objects in words. As JSON it is an object with
// "time" (RFC 3339, UTC), "level", "message" and the event's fields by their names.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "index/base/error.h"

namespace layerfs {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

enum class LogFormat { kText, kJson };

// What a program may want to find a line by. Not "time", "level" or "message".
struct LogField {
  std::string_view name;
  std::string_view value;
};
using LogFields = std::initializer_list<LogField>;

struct LogSettings {
  LogLevel level = LogLevel::kWarning;
  LogFormat format = LogFormat::kText;
  std::string path;  // appended to; empty: stderr
};

// Before the first line, by tools/ only.
Status ConfigureLog(const LogSettings& settings);

bool LogEnabled(LogLevel level);
void Log(LogLevel level, std::string_view message, LogFields fields = {});

inline void LogDebug(std::string_view message) { Log(LogLevel::kDebug, message); }
inline void LogInfo(std::string_view message) { Log(LogLevel::kInfo, message); }
inline void LogWarning(std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(std::string_view message, LogFields fields = {}) {
  Log(LogLevel::kError, message, fields);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The log: one line an event on stderr, or in a file for a daemon. stdout is never touched. The
// only door to spdlog.
// Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "index/base/error.h"

namespace layerfs {

enum class LogLevel { kTrace, kDebug, kInfo, kWarning, kError, kOff };

// Before the first line, by tools/ only. An empty path is stderr; a file is appended to.
Status ConfigureLog(LogLevel level, const std::string& path = "");

bool LogEnabled(LogLevel level);
void Log(LogLevel level, std::string_view message);

inline void LogDebug(std::string_view message) { Log(LogLevel::kDebug, message); }
inline void LogInfo(std::string_view message) { Log(LogLevel::kInfo, message); }
inline void LogWarning(std::string_view message) { Log(LogLevel::kWarning, message); }
inline void LogError(std::string_view message) { Log(LogLevel::kError, message); }

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace layerfs {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> MakeStderrLogger() {
  auto logger = std::make_shared<spdlog::logger>("layerfs",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("layerfs: %l: %v");
  logger->set_level(spdlog::level::warn);
  return logger;
}

// The process's one log; replaced only by ConfigureLog, before threads are started.
std::shared_ptr<spdlog::logger>& Logger() {
  static std::shared_ptr<spdlog::logger> logger = MakeStderrLogger();
  return logger;
}

}  // namespace

Status ConfigureLog(LogLevel level, const std::string& path) {
  if (!path.empty()) {
    try {
      Logger() = std::make_shared<spdlog::logger>(
          "layerfs", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
    } catch (const spdlog::spdlog_ex& error) {
      return Fail(ErrorCode::kIo, "log file " + path + ": " + error.what());
    }
    Logger()->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    Logger()->flush_on(spdlog::level::info);
  }
  Logger()->set_level(ToSpdlog(level));
  return {};
}

bool LogEnabled(LogLevel level) { return Logger()->should_log(ToSpdlog(level)); }

void Log(LogLevel level, std::string_view message) {
  Logger()->log(ToSpdlog(level), "{}", message);
}

}  // namespace layerfs

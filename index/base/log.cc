// SPDX-License-Identifier: Apache-2.0
#include "index/base/log.h"

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "index/base/file.h"
#include "index/base/json.h"

namespace layerfs {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
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

struct Sink {
  std::shared_ptr<spdlog::logger> logger;
  LogFormat format = LogFormat::kText;
};

Sink MakeSink(spdlog::sink_ptr output, const LogSettings& settings) {
  Sink sink{std::make_shared<spdlog::logger>("layerfs", std::move(output)), settings.format};
  if (settings.format == LogFormat::kJson) {
    sink.logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v)",
                             spdlog::pattern_time_type::utc);
  } else if (settings.path.empty()) {
    sink.logger->set_pattern("layerfs: %l: %v");
  } else {
    sink.logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  }
  sink.logger->set_level(ToSpdlog(settings.level));
  if (!settings.path.empty()) sink.logger->flush_on(spdlog::level::info);
  return sink;
}

// The process's one log; replaced only by ConfigureLog, before threads are started.
Sink& TheSink() {
  static Sink sink = MakeSink(std::make_shared<spdlog::sinks::stderr_sink_mt>(), {});
  return sink;
}

// The line's members after those of the pattern.
std::string JsonMembers(std::string_view message, LogFields fields) {
  Json members;
  members["message"] = message;
  for (const LogField& field : fields) members[std::string(field.name)] = field.value;
  // Names in an image are bytes; what is not UTF-8 is replaced.
  return members.dump(-1, ' ', false, Json::error_handler_t::replace).substr(1);
}

}  // namespace

Status ConfigureLog(const LogSettings& settings) {
  try {
    spdlog::sink_ptr output = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    if (!settings.path.empty()) {
      // A pipe that nobody reads is an error, instead of a wait for who does.
      LAYERFS_TRY_IN(writable,
                     OpenFile(settings.path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0666),
                     "log file");
      output = std::make_shared<spdlog::sinks::basic_file_sink_mt>(settings.path);
    }
    TheSink() = MakeSink(std::move(output), settings);
  } catch (const spdlog::spdlog_ex& error) {
    return Fail(ErrorCode::kIo, "log file " + settings.path + ": " + error.what());
  }
  return {};
}

bool LogEnabled(LogLevel level) { return TheSink().logger->should_log(ToSpdlog(level)); }

void Log(LogLevel level, std::string_view message, LogFields fields) {
  if (!LogEnabled(level)) return;
  const Sink& sink = TheSink();
  if (sink.format == LogFormat::kJson) {
    sink.logger->log(ToSpdlog(level), "{}", JsonMembers(message, fields));
  } else {
    sink.logger->log(ToSpdlog(level), "{}", message);
  }
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <memory>

#include "index/base/json.h"

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

std::string Name(LogLevel level) {
  const auto name = spdlog::level::to_string_view(ToSpdlog(level));
  return {name.data(), name.size()};
}

struct Sink {
  std::shared_ptr<spdlog::logger> logger;
  LogFormat format = LogFormat::kText;
};

Sink MakeSink(spdlog::sink_ptr output, const LogSettings& settings) {
  Sink sink{std::make_shared<spdlog::logger>("layerfs", std::move(output)), settings.format};
  if (settings.format == LogFormat::kJson) {
    sink.logger->set_pattern("%v");
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

// RFC 3339 with milliseconds, in UTC.
std::string TimeNow() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm broken_down{};
  ::gmtime_r(&now.tv_sec, &broken_down);
  std::string text(64, '\0');
  text.resize(std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &broken_down));
  const std::string milliseconds = std::to_string(1000 + now.tv_nsec / 1'000'000);
  return text + "." + milliseconds.substr(1) + "Z";
}

std::string JsonLine(LogLevel level, std::string_view message, LogFields fields) {
  Json line;
  line["time"] = TimeNow();
  line["level"] = Name(level);
  line["message"] = message;
  for (const LogField& field : fields) line[std::string(field.name)] = field.value;
  // Names in an image are bytes; what is not UTF-8 is replaced.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

Status ConfigureLog(const LogSettings& settings) {
  try {
    spdlog::sink_ptr output = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    if (!settings.path.empty()) {
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
    sink.logger->log(ToSpdlog(level), "{}", JsonLine(level, message, fields));
  } else {
    sink.logger->log(ToSpdlog(level), "{}", message);
  }
}

}  // namespace layerfs

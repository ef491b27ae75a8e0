// SPDX-License-Identifier: Apache-2.0
// MountStatus: what a mount tells of itself, as JSON and as Prometheus' text; and its trace log.
// Thread-safe, once the members are set.
#pragma once

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "fs/file_reader.h"
#include "fs/fill.h"
#include "fs/fuse_session.h"
#include "fs/read_statistics.h"
#include "index/base/json.h"
#include "index/base/synchronized.h"
#include "tools/status_server.h"

namespace layerfs {

class MountStatus {
 public:
  // All outlive it. `fill` may be null.
  MountStatus(std::string mount_point, FileReader& reader, const Scheduler& scheduler,
              const Fill* fill);
  // Counts the reads; to be told of each.
  void Note(const ReadReport& report) { reads_.Note(report); }
  // Null before it ends.
  void SetSession(const FuseSession* session) {
    session_.With([&](const FuseSession*& current) { current = session; });
  }

  Json ToJson() const;
  std::string ToPrometheus() const;
  // "/stat" and "/metrics".
  std::optional<StatusPage> Page(std::string_view path) const;

 private:
  const std::string mount_point_;
  FileReader& reader_;
  const Scheduler& scheduler_;
  const Fill* const fill_;
  Synchronized<const FuseSession*> session_{nullptr};
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  ReadStatistics reads_;
};

// A line of JSON for each read of a mount: when, which file, which bytes, whether it waited and
// how long, and its error.
class TraceLog {
 public:
  static Result<std::unique_ptr<TraceLog>> Open(const std::string& path, InodePaths& paths);
  void Note(const ReadReport& report);

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TraceLog(std::FILE* file, InodePaths& paths) : file_(file), paths_(paths) {}
  const std::unique_ptr<std::FILE, Closer> file_;
  InodePaths& paths_;
};

// What `layerfs stat MOUNT` shows of a status.
void PrintMountStatus(const Json& status, std::FILE* out);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_status.h"

#include <fcntl.h>

#include <cerrno>
#include <cinttypes>

#include "index/base/file.h"
#include "tools/metrics_text.h"
#include "tools/text.h"

namespace layerfs {
namespace {

constexpr const char* kClassNames[] = {"demand", "readahead", "prefetch", "fill"};

double Milliseconds(std::chrono::microseconds duration) {
  return static_cast<double>(duration.count()) / 1000;
}

Json ReadsToJson(const ReadStatistics::Snapshot& reads, InodePaths& paths) {
  Json waits = Json::array();
  for (size_t i = 0; i < ReadStatistics::kBuckets; ++i) {
    const bool last = i == std::size(ReadStatistics::kWaitBounds);
    waits.push_back(
        {{"upToMs", last ? Json(nullptr) : Json(ReadStatistics::kWaitBounds[i].count())},
         {"count", reads.waits_by_bound[i]}});
  }
  Json stalls = Json::array();
  for (const FileStall& stall : reads.stalls) {
    stalls.push_back({{"path", EscapeForTerminal(paths.PathOf(stall.inode))},
                      {"waits", stall.waits},
                      {"totalMs", Milliseconds(stall.total)},
                      {"longestMs", Milliseconds(stall.longest)}});
  }
  return {{"count", reads.reads},
          {"bytes", reads.bytes},
          {"waited", reads.waited},
          {"errors", reads.errors},
          {"waitTotalMs", Milliseconds(reads.wait_total)},
          {"waitLongestMs", Milliseconds(reads.wait_longest)},
          {"waits", waits},
          {"stalls", stalls}};
}

Json FetchToJson(const SchedulerStatistics& fetch) {
  Json classes = Json::object();
  for (size_t i = 0; i < std::size(kClassNames); ++i) {
    classes[kClassNames[i]] = fetch.class_bytes[i];
  }
  return {{"requests", fetch.requests},
          {"retries", fetch.retries},
          {"hedges", fetch.hedges},
          {"errors", fetch.errors},
          {"chunks", fetch.chunks},
          {"reusedChunks", fetch.reused_chunks},
          {"bytes", fetch.body_bytes},
          {"bytesByClass", classes},
          {"roundTripMs", fetch.round_trip_ms},
          {"bytesPerSecond", fetch.bytes_per_second},
          {"lastError", EscapeMessage(fetch.last_error)}};
}

Json StartupToJson(const StartupPack* pack) {
  if (pack == nullptr) return {{"state", "none"}};
  const StartupPack::Asked asked = pack->asked();
  const char* state = pack->through() ? "through" : (pack->ended() ? "given up" : "streaming");
  return {{"state", state},
          {"bytes", pack->total_bytes()},
          {"availableBytes", pack->available()},
          {"readyReads", asked.ready},
          {"waitedReads", asked.waited},
          {"overtakingReads", asked.late}};
}

Json FillToJson(const Fill* fill) {
  if (fill == nullptr) return {{"state", "off"}};
  const FillProgress progress = fill->progress();
  Json json = {{"state", FillStateName(progress.state)},
               {"imageBytes", progress.total_bytes},
               {"cachedBytes", progress.done_bytes},
               {"fetchedBytes", progress.fetched_bytes},
               {"failedChunks", progress.failed_chunks}};
  if (progress.error.has_value()) json["error"] = EscapeMessage(progress.error->context);
  return json;
}

double Number(const Json& json) { return json.is_number() ? json.get<double>() : 0; }

uint64_t Count(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<uint64_t>() : 0;
}

std::string TextOf(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

MountStatus::MountStatus(std::string mount_point, FileReader& reader, const Scheduler& scheduler,
                         const Fill* fill)
    : mount_point_(std::move(mount_point)), reader_(reader), scheduler_(scheduler), fill_(fill) {}

Json MountStatus::ToJson() const {
  const SessionAbilities abilities = session_.With([](const FuseSession* session) {
    return session != nullptr ? session->abilities() : SessionAbilities();
  });
  const auto up = std::chrono::steady_clock::now() - started_;
  return {{"mountPoint", EscapeForTerminal(mount_point_)},
          {"image", EscapeForTerminal(reader_.image().reference().ToString())},
          {"manifest", reader_.image().manifest_digest().ToString()},
          {"seconds", std::chrono::duration<double>(up).count()},
          {"passthrough", abilities.passthrough},
          {"ioUring", abilities.io_uring},
          {"waitingReads", reader_.waiting_reads()},
          {"reads", ReadsToJson(reads_.Take(), reader_.paths())},
          {"startup", StartupToJson(reader_.image().startup().get())},
          {"fetch", FetchToJson(scheduler_.Statistics())},
          {"fill", FillToJson(fill_)}};
}

std::string MountStatus::ToPrometheus() const {
  const SchedulerStatistics fetch = scheduler_.Statistics();
  const ReadStatistics::Snapshot reads = reads_.Take();
  MetricsText text(reader_.image().reference().ToString());
  text.Add("layerfs_reads_total", "counter", "Reads answered.", static_cast<double>(reads.reads));
  text.Add("layerfs_read_bytes_total", "counter", "Bytes read.", static_cast<double>(reads.bytes));
  text.Add("layerfs_read_errors_total", "counter", "Reads that ended in an error.",
           static_cast<double>(reads.errors));
  text.Add("layerfs_waiting_reads", "gauge", "Reads that wait for data at this moment.",
           static_cast<double>(reader_.waiting_reads()));
  text.AddHistogram("layerfs_read_wait_seconds", "Reads that waited for data, by how long.",
                    {ReadStatistics::kWaitBounds, reads.waits_by_bound, reads.wait_total});
  text.Add("layerfs_requests_total", "counter", "Range requests sent.",
           static_cast<double>(fetch.requests));
  text.Add("layerfs_request_retries_total", "counter", "Chunks asked for again.",
           static_cast<double>(fetch.retries));
  text.Add("layerfs_request_hedges_total", "counter", "Requests sent twice for being slow.",
           static_cast<double>(fetch.hedges));
  text.Add("layerfs_fetch_errors_total", "counter", "Waiters that got an error.",
           static_cast<double>(fetch.errors));
  for (size_t i = 0; i < std::size(kClassNames); ++i) {
    text.Add("layerfs_fetched_bytes_total", "counter", "Stored bytes fetched, by class.",
             static_cast<double>(fetch.class_bytes[i]),
             std::string(",class=\"") + kClassNames[i] + "\"");
  }
  text.Add("layerfs_received_bytes_total", "counter", "Bytes that came over the link.",
           static_cast<double>(fetch.body_bytes));
  text.Add("layerfs_round_trip_seconds", "gauge", "Estimate of the link's round trip.",
           fetch.round_trip_ms / 1000);
  text.Add("layerfs_bandwidth_bytes_per_second", "gauge", "Estimate of the link's bandwidth.",
           fetch.bytes_per_second);
  if (fill_ != nullptr) {
    const FillProgress fill = fill_->progress();
    text.Add("layerfs_image_bytes", "gauge", "Bytes of the image's blobs.",
             static_cast<double>(fill.total_bytes));
    text.Add("layerfs_image_cached_bytes", "gauge", "Of those, what the fill knows to be cached.",
             static_cast<double>(fill.done_bytes));
    text.Add("layerfs_image_complete", "gauge", "1: the image needs no registry.",
             fill.state == FillState::kComplete ? 1 : 0);
  }
  return std::move(text).Take();
}

std::optional<StatusPage> MountStatus::Page(std::string_view path) const {
  if (path == "/stat") return StatusPage{"application/json", ToJson().dump(2) + "\n"};
  if (path == "/metrics") return StatusPage{"text/plain; version=0.0.4", ToPrometheus()};
  return std::nullopt;
}

Result<std::unique_ptr<TraceLog>> TraceLog::Open(const std::string& path, InodePaths& paths) {
  // Nobody waits for who reads a pipe.
  LAYERFS_TRY_IN(fd, OpenFile(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0666),
                 "--trace-log");
  std::FILE* const file = ::fdopen(fd.get(), "a");
  if (file == nullptr) return FailErrno("--trace-log " + path, errno);
  static_cast<void>(fd.Release());
  std::setvbuf(file, nullptr, _IOLBF, 4096);
  return std::unique_ptr<TraceLog>(new TraceLog(file, paths));
}

void TraceLog::Note(const ReadReport& report) {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  Json line = {{"time", static_cast<double>(now.count()) / 1e6},
               {"path", EscapeForTerminal(paths_.PathOf(report.inode))},
               {"offset", report.offset},
               {"size", report.size},
               {"class", report.waited ? "demand" : "cached"},
               {"waitUs", report.took.count()}};
  if (report.error != nullptr) line["error"] = EscapeMessage(report.error->context);
  // One call, so that lines of several threads stay whole.
  std::fputs((line.dump() + "\n").c_str(), file_.get());
}

void PrintMountStatus(const Json& status, std::FILE* out) {
  const Json empty = Json::object();
  const auto part = [&](const char* key) -> const Json& {
    const auto it = status.find(key);
    return it != status.end() && it->is_object() ? *it : empty;
  };
  const Json& reads = part("reads");
  const Json& fetch = part("fetch");
  const Json& fill = part("fill");
  const Json& startup = part("startup");
  std::fprintf(out, "image:    %s\n", TextOf(status, "image").c_str());
  std::fprintf(out, "mount:    %s, %.0f s, passthrough %s, io_uring %s\n",
               TextOf(status, "mountPoint").c_str(), Number(status.value("seconds", Json(0))),
               status.value("passthrough", false) ? "on" : "off",
               status.value("ioUring", false) ? "on" : "off");
  if (fill.contains("imageBytes")) {
    std::fprintf(out, "cached:   %s of %s (fill: %s)\n",
                 FormatBytes(Count(fill, "cachedBytes")).c_str(),
                 FormatBytes(Count(fill, "imageBytes")).c_str(), TextOf(fill, "state").c_str());
  } else {
    std::fprintf(out, "cached:   what has been read (fill: %s)\n", TextOf(fill, "state").c_str());
  }
  if (TextOf(startup, "state") != "none") {
    std::fprintf(out,
                 "startup:  %s of %s (%s); reads: %" PRIu64 " at once, %" PRIu64 " waited, %" PRIu64
                 " overtook it\n",
                 FormatBytes(Count(startup, "availableBytes")).c_str(),
                 FormatBytes(Count(startup, "bytes")).c_str(), TextOf(startup, "state").c_str(),
                 Count(startup, "readyReads"), Count(startup, "waitedReads"),
                 Count(startup, "overtakingReads"));
  }
  std::fprintf(out,
               "fetched:  %s in %" PRIu64 " requests:", FormatBytes(Count(fetch, "bytes")).c_str(),
               Count(fetch, "requests"));
  const auto classes = fetch.find("bytesByClass");
  for (const char* name : kClassNames) {
    const uint64_t bytes = classes != fetch.end() ? Count(*classes, name) : 0;
    std::fprintf(out, " %s %s%s", name, FormatBytes(bytes).c_str(),
                 name == kClassNames[3] ? "\n" : ",");
  }
  std::fprintf(out, "link:     round trip %.1f ms, %s/s\n",
               Number(fetch.value("roundTripMs", Json(0))),
               FormatBytes(Count(fetch, "bytesPerSecond")).c_str());
  std::fprintf(out, "trouble:  %" PRIu64 " retries, %" PRIu64 " hedges, %" PRIu64 " errors\n",
               Count(fetch, "retries"), Count(fetch, "hedges"), Count(fetch, "errors"));
  if (!TextOf(fetch, "lastError").empty()) {
    std::fprintf(out, "last:     %s\n", TextOf(fetch, "lastError").c_str());
  }
  std::fprintf(out,
               "reads:    %" PRIu64 ", %s; %" PRIu64
               " waited, %.0f ms in all, %.0f ms at the most; "
               "%" PRIu64 " wait now\n",
               Count(reads, "count"), FormatBytes(Count(reads, "bytes")).c_str(),
               Count(reads, "waited"), Number(reads.value("waitTotalMs", Json(0))),
               Number(reads.value("waitLongestMs", Json(0))), Count(status, "waitingReads"));
  const auto stalls = reads.find("stalls");
  for (const Json& stall : stalls != reads.end() && stalls->is_array() ? *stalls : Json::array()) {
    std::fprintf(out, "stall:    %8.0f ms in %" PRIu64 " waits  %s\n",
                 Number(stall.value("totalMs", Json(0))), Count(stall, "waits"),
                 TextOf(stall, "path").c_str());
  }
}

}  // namespace layerfs

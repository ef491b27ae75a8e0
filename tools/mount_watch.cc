// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_watch.h"

#include <malloc.h>
#include <sys/resource.h>

#include <csignal>

#include "index/base/log.h"

namespace layerfs {
namespace {

constexpr std::chrono::seconds kFillCheck{30};

// Who walks through a large tree touches all of it, a little at a time: this much may be mapped of
// it, looked at this often (a look takes some 2 microseconds, a request may touch 64 KiB at several
// places). The kernel's page cache has it still.
constexpr uint64_t kMaxTreeResident = uint64_t{6} << 20;
constexpr uint64_t kUsesPerLook = 32;

}  // namespace

void MountWatchWords::Declare(CLI::App& app) {
  fill.Declare(app);
  app.add_option("--metrics", metrics,
                 "Serve Prometheus' text at /metrics of unix:PATH or 127.0.0.1:PORT")
      ->type_name("ADDRESS")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("--trace-log", trace_log,
                 "Append a line of JSON for each read: time, path, range, whether it was cached, "
                 "wait")
      ->type_name("FILE");
}

Result<std::unique_ptr<MountWatch>> MountWatch::Start(const MountWatchWords& words,
                                                      const std::string& mount_point,
                                                      const std::shared_ptr<Image>& image,
                                                      const ImageContext& context,
                                                      FileReader& reader, bool fill_allowed) {
  std::unique_ptr<MountWatch> watch(new MountWatch());
  watch->tree_ = &image->tree();
  watch->resident_floor_ = ResidentFileBytes();
  LAYERFS_TRY(fill_options, words.fill.Get());
  if (fill_options.has_value() && fill_allowed) {
    watch->fill_.emplace(image, context, &reader.paths(), *fill_options);
  }
  watch->status_.emplace(mount_point, reader, context.scheduler,
                         watch->fill_.has_value() ? &*watch->fill_ : nullptr);
  if (!words.trace_log.empty()) {
    LAYERFS_TRY(trace, TraceLog::Open(words.trace_log, reader.paths()));
    watch->trace_ = std::move(trace);
  }
  watch->memory_.emplace(
      [raw = watch.get(), &scheduler = context.scheduler] {
        return scheduler.Statistics().chunks + raw->uses_.load();
      },
      [&scheduler = context.scheduler, cache = context.cache, &tree = image->tree()] {
        // Other processes evict nothing that is open here.
        cache->CloseKept();
        scheduler.ForgetUnkept();
        ::malloc_trim(0);
        // Pages of a file, which the kernel could take; but who looks at a hundred mounts counts
        // them.
        tree.DropResident();
      });
  reader.AddObserver([raw = watch.get()](const ReadReport& read) {
    raw->status_->Note(read);
    raw->NoteUse();
    if (raw->fill_.has_value()) raw->fill_->NoteRead(read.inode, read.waited);
    if (raw->trace_ != nullptr) raw->trace_->Note(read);
  });
  reader.SetOnWholeObject([raw = watch.get()] { raw->NoteUse(); });
  LAYERFS_CHECK_OK(watch->Listen(words, mount_point));
  return watch;
}

void MountWatch::NoteActivity() {
  if (memory_->Note() && server_.has_value()) server_->Nudge();
}

void MountWatch::NoteUse() {
  const uint64_t uses = uses_.fetch_add(1, std::memory_order_relaxed);
  if (uses % kUsesPerLook == 0) TrimTree();
  NoteActivity();
}

void MountWatch::TrimTree() {
  if (ResidentFileBytes() < resident_floor_.load(std::memory_order_relaxed) + kMaxTreeResident) {
    return;
  }
  tree_->DropResident();
  resident_floor_.store(ResidentFileBytes(), std::memory_order_relaxed);
}

std::optional<std::chrono::milliseconds> MountWatch::KeepMemory() {
  const auto again = memory_->Check();
  const bool filling = fill_.has_value() && !HasEnded(fill_->progress().state);
  if (again.has_value() || !filling) return again;
  // A fill may be slow, or wait for its registry: what it still brings is to be given back too.
  memory_->Note();
  return kFillCheck;
}

void MountWatch::StartFill() {
  if (!fill_.has_value()) return;
  NoteActivity();
  fill_->Start();
}

Status MountWatch::Listen(const MountWatchWords& words, const std::string& mount_point) {
  const auto page = [this](std::string_view path) { return status_->Page(path); };
  if (!words.metrics.empty()) {
    metrics_server_.emplace(page);
    for (const std::string& address : words.metrics) {
      LAYERFS_CHECK_OK_IN(metrics_server_->Listen(address), "--metrics");
    }
    LAYERFS_CHECK_OK(metrics_server_->Start());
  }
  server_.emplace(page);
  server_->SetChore([this] { return KeepMemory(); });
  // A mount without a control socket is a mount all the same.
  const auto socket = ControlSocketPath(mount_point, true);
  const Status listening =
      socket.has_value() ? server_->Listen("unix:" + *socket) : Fail(socket.error());
  if (!listening.has_value()) {
    LogInfo("layerfs stat will not find this mount: " + listening.error().context);
  }
  return server_->Start();
}

void RaiseLimits() {
  for (const auto resource : {RLIMIT_NOFILE, RLIMIT_FSIZE}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == limit.rlim_max) continue;
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(resource, &limit) != 0) LogDebug("a resource limit stays as it is");
  }
  // What is larger than may be is the error of the one call.
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <thread>

#include "fs/fill.h"
#include "fs/image_objects.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/text.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr size_t kBarWidth = 40;

class PullCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("pull", "fetch a whole image into the cache");
    image_.Declare(*app);
    app->add_flag("--pin", pin_, "Keep it: it is not evicted until layerfs cache unpin");
    app->add_option("--rate", rate_, "At most so many bytes a second; 0: no limit")
        ->type_name("SIZE");
    app->add_flag("-q,--quiet", quiet_, "No progress");
    app->add_flag("--json", json_, "Print what was done as JSON");
    Document(
        *app,
        {"  Fetches, verifies and caches every chunk of a converted image, so that a mount of "
         "it asks\n"
         "  the registry only what the tag means (nothing for a digest or with --offline). "
         "What the\n"
         "  cache has already is not fetched; a pull that was broken off goes on where it was.",
         {"layerfs pull docker://registry.example.com/app:1-lazy",
          "layerfs pull --pin registry.example.com/app@sha256:…"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY_IN(rate, ParseBytes(rate_), "--rate");
    LAYERFS_TRY(image, image_.Open());
    LAYERFS_TRY(context, image_.Context());
    LAYERFS_TRY(timeout, image_.services().FetchTimeout());
    if (context.cache->read_only()) {
      return Fail(ErrorCode::kPermission, "the cache is read-only; a pull has to write to it");
    }
    Fill::Options options;
    options.bytes_per_second = rate;
    options.stop_at_error = true;
    const TimePoint started = SteadyClock().Now();
    // Before anything comes that somebody else's eviction could take.
    if (pin_) LAYERFS_CHECK_OK(Pin(image, context, timeout));
    Fill fill(image, context, nullptr, options);
    fill.Start();
    LAYERFS_TRY(progress, Watch(fill, context.scheduler, timeout, io));
    const std::chrono::duration<double> took = SteadyClock().Now() - started;
    Report(*image, context, progress, took.count(), io);
    return ExitStatus::kSuccess;
  }

 private:
  // A chunk may wait behind many others on a slow link, so it is not its own time that counts, but
  // how long nothing at all has come.
  Result<FillProgress> Watch(Fill& fill, const Scheduler& scheduler,
                             std::chrono::milliseconds timeout, CommandIo& io) const {
    TimePoint moved_at = SteadyClock().Now();
    uint64_t moved = 0;
    while (true) {
      FillProgress progress = fill.progress();
      const bool ended = HasEnded(progress.state);
      if (!quiet_ && io.err_is_terminal) Draw(progress, ended, io);
      if (progress.state == FillState::kComplete) return progress;
      if (ended) return Fail(*progress.error);
      const SchedulerStatistics statistics = scheduler.Statistics();
      const uint64_t now_moved = progress.done_bytes + statistics.body_bytes;
      if (now_moved != moved) moved_at = SteadyClock().Now();
      moved = now_moved;
      if (SteadyClock().Now() - moved_at > timeout) {
        fill.Stop();
        return Fail(ErrorCode::kTimeout, "nothing has come for " + std::to_string(timeout.count()) +
                                             " ms: " + statistics.last_error);
      }
      std::this_thread::sleep_for(kRedraw);
    }
  }

  static void Draw(const FillProgress& progress, bool ended, CommandIo& io) {
    const double share = progress.total_bytes == 0
                             ? 1.0
                             : std::min(1.0, static_cast<double>(progress.done_bytes) /
                                                 static_cast<double>(progress.total_bytes));
    const auto filled = static_cast<size_t>(share * kBarWidth);
    std::fprintf(io.err, "\r\x1b[K[%s%s] %3d %% of %s%s", std::string(filled, '#').c_str(),
                 std::string(kBarWidth - filled, '.').c_str(), static_cast<int>(share * 100),
                 FormatBytes(progress.total_bytes).c_str(), ended ? "\n" : "");
    std::fflush(io.err);
  }

  static Status Pin(const std::shared_ptr<Image>& image, const ImageContext& context,
                    std::chrono::milliseconds timeout) {
    LAYERFS_TRY(objects, ListImageObjects(image, context, timeout));
    return context.cache->Pin(image->reference().ToString(), objects);
  }

  void Report(const Image& image, const ImageContext& context, const FillProgress& progress,
              double seconds, CommandIo& io) const {
    const SchedulerStatistics statistics = context.scheduler.Statistics();
    if (json_) {
      const Json document = {{"image", image.reference().ToString()},
                             {"manifest", image.manifest_digest().ToString()},
                             {"imageBytes", progress.total_bytes},
                             {"fetchedBytes", statistics.body_bytes},
                             {"requests", statistics.requests},
                             {"seconds", seconds},
                             {"complete", true},
                             {"pinned", pin_}};
      std::fprintf(io.out, "%s\n", document.dump(2).c_str());
      return;
    }
    const bool is_pinned = image.reference().digest.has_value();
    std::fprintf(io.out, "%s%s\n", image.reference().ToString().c_str(),
                 is_pinned ? "" : ("@" + image.manifest_digest().ToString()).c_str());
    if (quiet_) return;
    std::fprintf(
        io.err, "%s of %s fetched in %llu requests, %.1f s%s\n",
        FormatBytes(statistics.body_bytes).c_str(), FormatBytes(progress.total_bytes).c_str(),
        static_cast<unsigned long long>(statistics.requests), seconds, pin_ ? "; pinned" : "");
  }

  ImageArgument image_;
  bool pin_ = false;
  bool quiet_ = false;
  bool json_ = false;
  std::string rate_ = "0";
};

}  // namespace

std::unique_ptr<Command> MakePullCommand() { return std::make_unique<PullCommand>(); }

}  // namespace layerfs

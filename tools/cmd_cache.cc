// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "fetch/image_record.h"
#include "fs/image_objects.h"
#include "index/base/json.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/services.h"
#include "tools/text.h"

namespace layerfs {
namespace {

// What `cache stat` shows of one image.
struct ImageLine {
  ImageRecord record;
  ImagePresence presence;
};

struct CacheReport {
  CacheStatistics statistics;
  std::vector<ImageLine> images;
  std::vector<std::string> pins;
};

Result<CacheReport> MakeReport(const ObjectCache& cache) {
  CacheReport report;
  LAYERFS_TRY(statistics, cache.Statistics());
  LAYERFS_TRY(whole, cache.WholeObjects());
  LAYERFS_TRY(pins, cache.Pins());
  report.statistics = statistics;
  report.pins = std::move(pins);
  for (ImageRecord& record : ReadImageRecords(cache)) {
    const ImagePresence presence = PresenceOf(record, whole);
    report.images.push_back({std::move(record), presence});
  }
  return report;
}

Json ToJson(const CacheReport& report, const std::string& directory) {
  const CacheStatistics& statistics = report.statistics;
  Json images = Json::array();
  for (const ImageLine& image : report.images) {
    images.push_back({{"image", EscapeForTerminal(image.record.name)},
                      {"manifest", image.record.manifest.ToString()},
                      {"complete", image.presence.complete},
                      {"blobBytes", image.record.layer_bytes},
                      {"contentBytes", image.record.object_bytes()},
                      {"presentBytes", image.presence.bytes}});
  }
  Json pins = Json::array();
  for (const std::string& pin : report.pins) pins.push_back(EscapeForTerminal(pin));
  return {{"directory", EscapeForTerminal(directory)},
          {"wholeObjects", statistics.whole_objects},
          {"partialObjects", statistics.partial_objects},
          {"documents", statistics.documents},
          {"bytes", statistics.bytes},
          {"limitBytes", statistics.limit_bytes},
          {"pinnedObjects", statistics.pinned_objects},
          {"images", images},
          {"pins", pins}};
}

std::string PresenceText(const ImageLine& image) {
  if (image.presence.complete) {
    return "complete, " + FormatBytes(image.presence.bytes) + "; needs no registry";
  }
  if (image.record.objects.empty()) return "in part";
  return "in part, " + FormatBytes(image.presence.bytes) + " of " +
         FormatBytes(image.record.object_bytes());
}

void Print(const CacheReport& report, const std::string& directory, CommandIo& io) {
  const CacheStatistics& statistics = report.statistics;
  std::fprintf(io.out, "directory: %s\n", EscapeForTerminal(directory).c_str());
  std::fprintf(io.out, "used:      %s\n", FormatBytes(statistics.bytes).c_str());
  if (statistics.limit_bytes > 0) {
    std::fprintf(io.out, "limit:     %s\n", FormatBytes(statistics.limit_bytes).c_str());
  }
  std::fprintf(io.out, "objects:   %llu whole, %llu in part, %llu pinned\n",
               static_cast<unsigned long long>(statistics.whole_objects),
               static_cast<unsigned long long>(statistics.partial_objects),
               static_cast<unsigned long long>(statistics.pinned_objects));
  std::fprintf(io.out, "documents: %llu\n", static_cast<unsigned long long>(statistics.documents));
  for (const ImageLine& image : report.images) {
    const std::string& name = image.record.name;
    const bool has_digest = name.find('@') != std::string::npos;
    std::fprintf(io.out, "image:     %s%s: %s\n", EscapeForTerminal(name).c_str(),
                 has_digest ? "" : ("@" + image.record.manifest.ToString().substr(0, 19)).c_str(),
                 PresenceText(image).c_str());
  }
  for (const std::string& pin : report.pins) {
    std::fprintf(io.out, "pin:       %s\n", EscapeForTerminal(pin).c_str());
  }
}

class CacheCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app =
        parent.add_subcommand("cache", "look at the cache, make room in it, keep images");
    app->require_subcommand(1);
    DeclareStat(*app);
    DeclarePrune(*app);
    DeclarePins(*app);
    Document(*app, {"  The cache holds verified content by digest, shared by all mounts and "
                    "processes that use\n"
                    "  its directory.",
                    {"layerfs cache stat", "layerfs cache prune --to 10G",
                     "layerfs cache pin docker://registry.example.com/app:1-lazy"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    if (pin_->parsed()) return Pin(io);
    const ServiceOptions& options = prune_->parsed()   ? prune_options_
                                    : unpin_->parsed() ? unpin_options_
                                                       : stat_options_;
    Services services(options);
    LAYERFS_TRY(cache, services.Cache());
    if (prune_->parsed()) {
      LAYERFS_TRY_IN(target, ParseBytes(target_), "--to");
      LAYERFS_TRY(freed, cache->Prune(target));
      std::fprintf(io.out, "%s freed\n", FormatBytes(freed).c_str());
      return ExitStatus::kSuccess;
    }
    if (unpin_->parsed()) {
      LAYERFS_TRY(reference, ImageReference::Parse(unpinned_));
      LAYERFS_CHECK_OK(cache->Unpin(reference.ToString()));
      return ExitStatus::kSuccess;
    }
    LAYERFS_TRY(report, MakeReport(*cache));
    const std::string directory =
        options.cache_directory.empty() ? DefaultCacheDirectory() : options.cache_directory;
    if (json_) {
      std::fprintf(io.out, "%s\n", ToJson(report, directory).dump(2).c_str());
    } else {
      Print(report, directory, io);
    }
    return ExitStatus::kSuccess;
  }

 private:
  void DeclareStat(CLI::App& app) {
    stat_ = app.add_subcommand("stat", "how much is in the cache, and which images are complete");
    stat_->add_flag("--json", json_, "Print JSON");
    stat_options_.DeclareCache(*stat_);
    Document(*stat_, {"  Counts the objects of the cache and the disk space that they take, and "
                      "tells of each\n"
                      "  image that was mounted or pulled whether all of it is there.",
                      {"layerfs cache stat --json"}});
  }
  void DeclarePrune(CLI::App& app) {
    prune_ = app.add_subcommand("prune", "remove the least recently used");
    prune_->add_option("--to", target_, "Until at most this much is used; 0: all that is not open")
        ->type_name("SIZE")
        ->capture_default_str();
    prune_options_.DeclareCache(*prune_);
    Document(*prune_, {"  Removes objects that no mount has open and no pin keeps, the least "
                       "recently used first.\n"
                       "  What is removed is fetched again when it is read.",
                       {"layerfs cache prune --to 10G"}});
  }
  void DeclarePins(CLI::App& app) {
    pin_ = app.add_subcommand("pin", "keep what an image is made of");
    pinned_.Declare(*pin_);
    Document(*pin_,
             {"  What is in the cache of the image, and what will come, is not evicted until "
              "unpin.\n"
              "  Nothing but the list of its chunks is fetched; layerfs pull --pin fetches "
              "all.",
              {"layerfs cache pin docker://registry.example.com/app:1-lazy"}});
    unpin_ = app.add_subcommand("unpin", "let go of an image");
    unpin_->add_option("IMAGE", unpinned_, "As it was named to pin")->required();
    unpin_options_.DeclareCache(*unpin_);
    Document(*unpin_, {"  The image's objects may be evicted again.",
                       {"layerfs cache unpin docker://registry.example.com/app:1-lazy"}});
  }

  Result<ExitStatus> Pin(CommandIo& io) {
    LAYERFS_TRY(image, pinned_.Open());
    LAYERFS_TRY(context, pinned_.Context());
    LAYERFS_TRY(timeout, pinned_.services().FetchTimeout());
    LAYERFS_TRY(objects, ListImageObjects(image, context, timeout));
    const std::string name = image->reference().ToString();
    LAYERFS_CHECK_OK(context.cache->Pin(name, objects));
    std::fprintf(io.out, "%s: %zu objects pinned\n", EscapeForTerminal(name).c_str(),
                 objects.size());
    return ExitStatus::kSuccess;
  }

  CLI::App* stat_ = nullptr;
  CLI::App* prune_ = nullptr;
  CLI::App* pin_ = nullptr;
  CLI::App* unpin_ = nullptr;
  bool json_ = false;
  std::string target_ = "0";
  std::string unpinned_;
  ImageArgument pinned_;
  // One for each: an option that is not given takes its variable's value from the environment, also
  // for a subcommand that is not the one that runs.
  ServiceOptions stat_options_;
  ServiceOptions prune_options_;
  ServiceOptions unpin_options_;
};

}  // namespace

std::unique_ptr<Command> MakeCacheCommand() { return std::make_unique<CacheCommand>(); }

}  // namespace layerfs

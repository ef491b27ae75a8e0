// SPDX-License-Identifier: Apache-2.0

#include <optional>

#include "tools/command.h"
#include "tools/convert/convert_image.h"
#include "tools/convert/layer_converter.h"
#include "tools/progress.h"
#include "tools/services.h"
#include "tools/startup/add_startup.h"
#include "tools/startup/ending_signals.h"
#include "tools/startup/recording.h"
#include "tools/startup/trace_files.h"
#include "tools/text.h"

namespace layerfs {
namespace {

// How long cleaning up may take once a signal has come: longer where a recording is to be ended.
constexpr std::chrono::milliseconds kPatience{5'000};
constexpr std::chrono::milliseconds kRecordPatience{60'000};

const char* OutcomeName(LayerOutcome outcome) {
  switch (outcome) {
    case LayerOutcome::kConverted:
      return "converted";
    case LayerOutcome::kReused:
      return "reused";
    case LayerOutcome::kCopied:
      return "copied";
  }
  return "";
}

class ConvertCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("convert", "make an image mountable");
    app->add_option("SOURCE", source_, "The image to convert")->required();
    app->add_option("DESTINATION", destination_, "Where the converted image goes")->required();
    app->add_option("--platform", platforms_,
                    "Convert this platform of an image index only; may be repeated")
        ->type_name("OS/ARCH[/VARIANT]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    app->add_option("--compression", compression_,
                    "What the layers are compressed with; gzip is for tools that read no zstd")
        ->check(CLI::IsMember({"zstd", "gzip"}))
        ->capture_default_str();
    app->add_option("--level", level_,
                    "zstd's level, 1 to 19 (default 3), or gzip's, 1 to 12 (default 6)");
    app->add_option(
           "--chunk-size", chunk_size_,
           "Cut large files every so many bytes: a multiple of 4K from 4K to 8M (default 256K)")
        ->type_name("SIZE");
    app->add_option("--threads", threads_, "How many threads compress; 0: one a processor")
        ->check(CLI::Range(0, 1024));
    app->add_flag("--force", force_,
                  "Convert and write again what is converted, or there, already");
    app->add_flag("--json", json_, "Print the report as JSON");
    app->add_flag("-q,--quiet", quiet_, "No progress, no report");
    app->add_option("--trace", traces_,
                    "Add a startup pack: what these traces read; may be repeated")
        ->type_name("FILE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
    app->add_flag("--record", record_,
                  "Run the converted image's program once and add a startup pack of what it reads");
    ready_.Declare(*app);
    app->add_option("--pack-level", pack_.level, "zstd's level for the startup pack, 1 to 19")
        ->check(CLI::Range(1, 19))
        ->capture_default_str();
    options_.DeclareCache(*app);
    options_.DeclareRegistry(*app);
    Document(
        *app,
        {"  Makes an image whose layers can be read in pieces, without a pull. The result is an\n"
         "  ordinary OCI image: the tars in its layers, its config and so its image ID are\n"
         "  unchanged, and other tools pull and run it as ever. The bytes depend on the image and\n"
         "  the options only. Layers that the destination has already, converted with the same\n"
         "  options, are neither converted nor written again; layers that are converted at the\n"
         "  source are copied, unless --force, --level or --chunk-size ask for another form. The\n"
         "  destination's tag is set last: a failure leaves nothing half-written to be seen.\n"
         "\n"
         "  Every layer that is read is compared with its digest and its diff ID, and where it is\n"
         "  copied, its index with its tar; of what the destination has, the index alone is read.\n"
         "\n"
         "  With --trace or --record the image index also gets a startup pack: the image's tree "
         "and\n"
         "  the pages that start-up reads, as one stream, with which a cold `layerfs mount` is "
         "ready\n"
         "  about as soon as the link can bring them. Other tools pass over it.",
         {"layerfs convert docker://127.0.0.1:5000/app:1 docker://127.0.0.1:5000/app:1-lazy",
          "layerfs convert docker-archive:app.tar oci:/images/app:1",
          "layerfs convert --compression gzip docker-archive:app.tar oci:/images/app:1",
          "layerfs convert --trace app.trace docker://example.com/app:1 oci:/images/app:1",
          "layerfs convert --record --ready 'listening on' oci:/images/app:1 oci:/images/lazy:1",
          "layerfs convert --platform linux/amd64 docker://example.com/app oci:/images/app"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    GiveLargeBlocksBack();
    ConvertOptions options;
    const bool waits = !ready_.pattern.empty() || !ready_.http.empty() || ready_.exit;
    if (waits && !record_) {
      return Fail(ErrorCode::kInvalidArgument,
                  "--ready, --ready-http and --ready-exit are for --record");
    }
    LAYERFS_CHECK_OK(ready_.Check());
    if (record_) LAYERFS_CHECK_OK(CheckRecording(ready_));
    LAYERFS_TRY(source, ImageReference::Parse(source_));
    LAYERFS_TRY(destination, ImageReference::Parse(destination_));
    options.source = source;
    options.destination = destination;
    for (const std::string& word : platforms_) {
      LAYERFS_TRY_IN(platform, Platform::Parse(word), "--platform");
      options.platforms.push_back(platform);
    }
    if (!chunk_size_.empty()) {
      LAYERFS_TRY_IN(size, ParseBytes(chunk_size_), "--chunk-size");
      if (size < kMinPolicyBytes || size > kMaxPolicyBytes || size % kMinPolicyBytes != 0) {
        return Fail(ErrorCode::kInvalidArgument,
                    "--chunk-size: " + chunk_size_ + " is not a multiple of 4K from 4K to 8M");
      }
      policy_.chunk_size = static_cast<uint32_t>(size);
      policy_.own_chunk_size = std::max(policy_.own_chunk_size, policy_.chunk_size);
    }
    LAYERFS_CHECK_OK(ReadCompression());
    options.policy = policy_;
    options.policy_is_asked_for = level_.has_value() || !chunk_size_.empty();
    options.threads = threads_;
    options.force = force_;
    options.cache_directory =
        options_.cache_directory.empty() ? DefaultCacheDirectory() : options_.cache_directory;
    // Before any thread is there.
    const EndingWatch ending(record_ ? kRecordPatience : kPatience);
    options.stopped = &ending.stopped();
    Services services(options_);
    LAYERFS_TRY(stores, services.Stores());
    LayerProgressBars bars(quiet_ ? nullptr : io.err, io.err_is_terminal);
    NoProgress none;
    LAYERFS_TRY(traces, ReadTraces(traces_));
    std::optional<AddStartupReport> startup;
    if (!traces.empty() || record_) {
      options.set_tag = [&](const Digest& root) -> Result<Digest> {
        if (ending.stopped().load()) return Fail(ErrorCode::kCancelled, "a signal ended it");
        LAYERFS_TRY(added, AddPack(options, root, std::move(traces), services));
        startup = added;
        return added.root;
      };
    }
    LAYERFS_TRY(report, ConvertImage(options, *stores,
                                     quiet_ ? static_cast<ConvertProgress&>(none) : bars));
    if (ending.stopped().load()) return Fail(ErrorCode::kCancelled, "a signal ended it");
    if (json_) {
      PrintJson(report, startup, io);
    } else if (!quiet_) {
      Print(report, startup, io);
    }
    return ExitStatus::kSuccess;
  }

 private:
  Status ReadCompression() {
    constexpr int kGzipLevel = 6;
    if (compression_ == "gzip") {
      policy_.compression = LayerCompression::kGzip;
      policy_.level = kGzipLevel;
    }
    policy_.level = level_.value_or(policy_.level);
    return policy_.Validate();
  }

  struct NoProgress final : ConvertProgress {
    void OnLayers(size_t) override {}
    void OnProgress(const LayerProgress&) override {}
  };

  // Gives the image `root`, which is at the destination by its digest, a startup pack and the tag.
  Result<AddStartupReport> AddPack(const ConvertOptions& options, const Digest& root,
                                   std::vector<Trace> traces, Services& services) {
    AddStartupOptions add;
    add.image = options.destination;
    add.image.tag.clear();
    add.image.digest = root;
    add.tag = options.destination;
    add.pack = pack_;
    LAYERFS_TRY(timeout, services.FetchTimeout());
    add.load.timeout = timeout;
    if (!options.platforms.empty()) add.load.platform = options.platforms.front();
    add.traces = std::move(traces);
    if (record_) {
      RecordOptions record;
      record.image = add.image.ToString();
      if (!platforms_.empty()) record.platform = platforms_.front();
      record.ready = ready_;
      LAYERFS_TRY(trace, RecordStartup(record, options_));
      add.traces.push_back(std::move(trace));
    }
    LAYERFS_TRY(cache, services.Cache());
    LAYERFS_TRY(stores, services.Stores());
    LAYERFS_TRY(scheduler, services.Fetcher());
    return AddStartup(add, ImageContext{*stores, *scheduler, cache});
  }

  static void Print(const ConvertReport& report, const std::optional<AddStartupReport>& startup,
                    CommandIo& io) {
    uint64_t from = 0;
    uint64_t to = 0;
    for (const LayerReport& layer : report.layers) {
      from += layer.source_size;
      to += layer.converted_size;
      std::fprintf(
          io.out, "%s -> %s  %10s -> %10s  %s\n", layer.source.ToString().substr(0, 19).c_str(),
          layer.converted.ToString().substr(0, 19).c_str(), FormatBytes(layer.source_size).c_str(),
          FormatBytes(layer.converted_size).c_str(), OutcomeName(layer.outcome));
    }
    for (const std::string& note : report.notes) std::fprintf(io.err, "%s\n", note.c_str());
    if (startup.has_value()) {
      std::fprintf(io.out, "%s  startup pack: %s for %s of pages, in %.1f s\n",
                   startup->artifact.ToString().substr(0, 19).c_str(),
                   FormatBytes(startup->pack_bytes).c_str(),
                   FormatBytes(startup->page_bytes).c_str(), startup->seconds);
      WarnOfMissingPaths(*startup, io.err);
    }
    std::fprintf(io.out, "%s  %s -> %s in %.1f s\n", report.root.ToString().c_str(),
                 FormatBytes(from).c_str(), FormatBytes(to).c_str(), report.seconds);
  }

  static void PrintJson(const ConvertReport& report, const std::optional<AddStartupReport>& startup,
                        CommandIo& io) {
    Json layers = Json::array();
    for (const LayerReport& layer : report.layers) {
      layers.push_back({{"source", layer.source.ToString()},
                        {"sourceSize", layer.source_size},
                        {"converted", layer.converted.ToString()},
                        {"convertedSize", layer.converted_size},
                        {"tarSize", layer.tar_size},
                        {"outcome", OutcomeName(layer.outcome)},
                        {"seconds", layer.seconds}});
    }
    Json platforms = Json::array();
    for (const Platform& platform : report.platforms) platforms.push_back(platform.ToString());
    Json document = {{"digest", report.root.ToString()},
                     {"mediaType", report.root_media_type},
                     {"platforms", platforms},
                     {"layers", layers},
                     {"notes", report.notes},
                     {"seconds", report.seconds}};
    if (startup.has_value()) {
      document["startup"] = {{"artifact", startup->artifact.ToString()},
                             {"packBytes", startup->pack_bytes},
                             {"pageBytes", startup->page_bytes},
                             {"gapBytes", startup->gap_bytes},
                             {"storedPageBytes", startup->stored_page_bytes},
                             {"storedTreeBytes", startup->stored_tree_bytes},
                             {"runs", startup->runs},
                             {"missingPaths", startup->missing_paths},
                             {"seconds", startup->seconds}};
    }
    std::fprintf(io.out, "%s\n", document.dump(2).c_str());
  }

  std::string source_;
  std::string destination_;
  std::vector<std::string> platforms_;
  ChunkPolicy policy_;
  std::string compression_ = "zstd";
  std::optional<int> level_;
  std::string chunk_size_;
  int threads_ = 0;
  bool force_ = false;
  bool json_ = false;
  bool quiet_ = false;
  std::vector<std::string> traces_;
  bool record_ = false;
  ReadyCondition ready_;
  PackOptions pack_;
  ServiceOptions options_;
};

}  // namespace

std::unique_ptr<Command> MakeConvertCommand() { return std::make_unique<ConvertCommand>(); }

}  // namespace layerfs

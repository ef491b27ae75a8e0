// SPDX-License-Identifier: Apache-2.0
#include "tools/command.h"
#include "tools/services.h"
#include "tools/text.h"

namespace layerfs {
namespace {

class CacheCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("cache", "look at the cache and make room in it");
    app->require_subcommand(1);
    stat_ = app->add_subcommand("stat", "how much is in the cache");
    stat_->add_flag("--json", json_, "Print JSON");
    options_.DeclareCache(*stat_);
    Document(*stat_, {"  Counts the objects of the cache and the disk space that they take.",
                      {"layerfs cache stat --json"}});
    prune_ = app->add_subcommand("prune", "remove the least recently used");
    prune_->add_option("--to", target_, "Until at most this much is used; 0: all that is not open")
        ->type_name("SIZE")
        ->capture_default_str();
    options_.DeclareCache(*prune_);
    Document(*prune_, {"  Removes objects that no mount has open, the least recently used first. "
                       "What is removed\n"
                       "  is fetched again when it is read.",
                       {"layerfs cache prune --to 10G"}});
    Document(*app, {"  The cache holds verified content by digest, shared by all mounts and "
                    "processes that use\n"
                    "  its directory.",
                    {"layerfs cache stat", "layerfs cache prune --to 10G"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    Services services(options_);
    LAYERFS_TRY(cache, services.Cache());
    if (prune_->parsed()) {
      LAYERFS_TRY_IN(target, ParseBytes(target_), "--to");
      LAYERFS_TRY(freed, cache->Prune(target));
      std::fprintf(io.out, "%s freed\n", FormatBytes(freed).c_str());
      return ExitStatus::kSuccess;
    }
    LAYERFS_TRY(statistics, cache->Statistics());
    Print(statistics, io);
    return ExitStatus::kSuccess;
  }

 private:
  void Print(const CacheStatistics& statistics, CommandIo& io) const {
    const std::string directory =
        options_.cache_directory.empty() ? DefaultCacheDirectory() : options_.cache_directory;
    if (json_) {
      const Json document = {{"directory", EscapeForTerminal(directory)},
                             {"wholeObjects", statistics.whole_objects},
                             {"partialObjects", statistics.partial_objects},
                             {"documents", statistics.documents},
                             {"bytes", statistics.bytes},
                             {"limitBytes", statistics.limit_bytes}};
      std::fprintf(io.out, "%s\n", document.dump(2).c_str());
      return;
    }
    std::fprintf(io.out, "directory: %s\n", directory.c_str());
    std::fprintf(io.out, "used:      %s\n", FormatBytes(statistics.bytes).c_str());
    if (statistics.limit_bytes > 0) {
      std::fprintf(io.out, "limit:     %s\n", FormatBytes(statistics.limit_bytes).c_str());
    }
    std::fprintf(io.out, "objects:   %llu whole, %llu in part\n",
                 static_cast<unsigned long long>(statistics.whole_objects),
                 static_cast<unsigned long long>(statistics.partial_objects));
    std::fprintf(io.out, "documents: %llu\n",
                 static_cast<unsigned long long>(statistics.documents));
  }

  CLI::App* stat_ = nullptr;
  CLI::App* prune_ = nullptr;
  bool json_ = false;
  std::string target_ = "0";
  ServiceOptions options_;
};

}  // namespace

std::unique_ptr<Command> MakeCacheCommand() { return std::make_unique<CacheCommand>(); }

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "index/index_check.h"
#include "tools/blob_check.h"
#include "tools/chunk_tables.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/startup/ending_signals.h"
#include "tools/startup/scratch_directory.h"
#include "tools/startup_check.h"
#include "tools/text.h"

namespace layerfs {
namespace {

// A segment of a table, or an index, may take this long after a signal.
constexpr std::chrono::milliseconds kEndPatience{5'000};

class CheckCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("check", "verify an image's indexes and data");
    image_.Declare(*app);
    app->add_flag("--data", data_, "Read and verify every layer's blob, chunk by chunk");
    app->add_flag(
        "--referrers", referrers_,
        "Look for a startup pack that was attached to the image, where the image has none "
        "of its own, and check it");
    Document(
        *app,
        {"  Checks the structure of every layer's index, of the merged tree and of the chunk "
         "tables,\n"
         "  beyond what mounting does. With --data every layer's blob is read and compared with "
         "its\n"
         "  digest, each chunk in it with its own, and what all chunks make with the diff ID that "
         "the\n"
         "  config says; the index is compared with the tar. A startup pack's tree is compared "
         "with what\n"
         "  the layers make, and with --data its pages with theirs. All comes from the source; the "
         "cache\n"
         "  serves --offline only. Every finding is a line; the exit status is 5 where there is "
         "one.",
         {"layerfs check oci:/images/app:1", "layerfs check --data docker://example.com/app:1"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    // A pack's tree is somebody's word of the layers.
    image_.SetStartup(false);
    if (image_.services().options().offline) return Check(io);
    const EndingWatch watch(kEndPatience);
    stopped_ = &watch.stopped();
    LAYERFS_TRY(scratch, ScratchDirectory::Make("layerfs-check"));
    const std::string empty = scratch.path() + "/cache";
    image_.SetCache(empty);
    Result<ExitStatus> checked = Check(io);
    std::error_code ignored;
    std::filesystem::remove_all(empty, ignored);
    return checked;
  }

 private:
  Result<ExitStatus> Check(CommandIo& io) {
    const auto opened = image_.Open();
    if (!opened.has_value()) return CheckParts(opened.error(), io);
    const std::shared_ptr<Image>& image = *opened;
    LAYERFS_TRY(scheduler, image_.services().Fetcher());
    LAYERFS_TRY(cache, image_.services().Cache());
    // By the same tag, which may move while the blobs are read.
    LAYERFS_TRY(packed, OpenWithPack(*image));
    const Index& tree = image->tree();
    Report("tree", CheckIndex(tree), io);
    std::vector<Index> layers;
    std::vector<BlobCheck> blobs;
    for (size_t i = 0; i < tree.layers().size(); ++i) {
      auto layer = image->LoadLayerIndex(LayerNumber{static_cast<uint16_t>(i)});
      if (!layer.has_value()) return CheckParts(layer.error(), io);
      Report("layer " + tree.layers()[i].blob.ToString(), CheckIndex(*layer), io);
      layers.push_back(std::move(*layer));
      blobs.emplace_back(image->manifest().layers[i], tree.layers()[i].diff_id);
    }
    for (size_t i = 0; i < layers.size(); ++i) blobs[i].SetIndex(&layers[i]);
    const std::string name = image->reference().ToString();
    const auto config = image->Config();
    LAYERFS_CHECK_OK(ReportDamage(name, config, io));
    if (config.has_value()) CheckDiffIds(tree, config->diff_ids, io);
    uint64_t chunks = 0;
    for (uint32_t i = 0; i < tree.segment_count(); ++i) {
      const LayerNumber layer = tree.Segment(i).layer;
      const auto blob = image->layer_blob(layer);
      const auto table = LoadSegment(*image, *scheduler, *cache, i);
      LAYERFS_CHECK_OK(ReportDamage(name, table, io));
      if (!table.has_value()) {
        blobs[ToUint(layer)].Miss();
        continue;
      }
      Report("blob " + blob->digest.ToString(), CheckSegment(*table, blob->size), io);
      Report("layer " + blob->digest.ToString(), CheckContents(layers[ToUint(layer)], *table), io);
      if (data_) blobs[ToUint(layer)].Add(*table);
      chunks += table->chunks().size();
    }
    if (data_) LAYERFS_CHECK_OK(CheckBlobs(image->reference(), blobs, io));
    const Status pack = CheckPack(*packed, image, io);
    if (!pack.has_value() && pack.error().code == ErrorCode::kCancelled) return Fail(pack.error());
    const ExitStatus found =
        Conclude(std::to_string(tree.inode_count()) + " inodes, " + std::to_string(chunks) +
                     " chunks" + (data_ ? " with their data" : ""),
                 io);
    if (!pack.has_value() && findings_ == 0) return Fail(pack.error());
    return found;
  }

  // The image as a mount by its startup pack opens it.
  Result<std::shared_ptr<Image>> OpenWithPack(const Image& layers) {
    LAYERFS_TRY(context, image_.Context());
    LAYERFS_TRY(load, image_.LoadOptions());
    load.startup = true;
    load.referrers = referrers_;
    LAYERFS_TRY(packed, Image::Load(layers.reference(), context, load));
    if (packed->manifest_digest() == layers.manifest_digest()) return packed;
    return Fail(ErrorCode::kBusy,
                layers.reference().ToString() + ": was moved from " +
                    layers.manifest_digest().ToString() + " to " +
                    packed->manifest_digest().ToString() +
                    " just now; check one of them by its digest, or run the check again");
  }

  // An error where the pack could not be checked: the image serves without it, but who asks for a
  // check wants to know.
  Status CheckPack(const Image& packed, const std::shared_ptr<Image>& layers, CommandIo& io) {
    const auto& error = packed.startup_error();
    if (error.has_value() && !IsDamage(*error)) {
      // Without a registry a pack is used where it is cached. A later version's is not used either.
      if (image_.services().options().offline) return {};
      std::fprintf(io.err, "startup pack: not checked: %s\n",
                   EscapeForTerminal(error->context).c_str());
      return error->code == ErrorCode::kUnsupported ? Status() : Fail(*error);
    }
    if (error.has_value()) return ReportDamage("startup pack", Status(Fail(*error)), io);
    if (packed.startup() == nullptr) return {};
    LAYERFS_TRY(context, image_.Context());
    LAYERFS_TRY(timeout, image_.services().FetchTimeout());
    LAYERFS_TRY_IN(findings, CheckStartup(packed, layers, context, {data_, timeout, stopped_}),
                   "startup pack: not checked");
    Report("startup pack", findings, io);
    return {};
  }

  // An image that has no tree, for `why`: what is to blame, and what else is wrong with it.
  Result<ExitStatus> CheckParts(const Error& why, CommandIo& io) {
    if (!IsDamage(why)) return Fail(why);
    LAYERFS_TRY(reference, image_.Reference());
    LAYERFS_TRY(context, image_.Context());
    LAYERFS_TRY(options, image_.LoadOptions());
    const auto parts = Image::LoadParts(reference, context, options);
    if (!parts.has_value()) return Fail(why);
    LAYERFS_CHECK_OK(ReportDamage(reference.ToString(), parts->config, io));
    std::vector<BlobCheck> blobs;
    for (size_t i = 0; i < parts->indexes.size(); ++i) {
      const Result<Index>& index = parts->indexes[i];
      const Descriptor& layer = parts->manifest.layers[i];
      blobs.emplace_back(layer, Digest());
      blobs.back().Miss();
      LAYERFS_CHECK_OK(ReportDamage(reference.ToString(), index, io));
      if (!index.has_value()) continue;
      Report("layer " + layer.digest.ToString(), CheckIndex(*index), io);
      if (parts->config.has_value() && i < parts->config->diff_ids.size()) {
        CheckDiffId(layer.digest, index->layers()[0].diff_id, parts->config->diff_ids[i], io);
      }
    }
    if (data_) LAYERFS_CHECK_OK(CheckBlobs(reference, blobs, io));
    // What only all layers together have against each other.
    if (findings_ == 0) return Fail(why);
    return Conclude("no tree without all layers' indexes", io);
  }

  // Any other error ends the check.
  template <typename T>
  Status ReportDamage(const std::string& object, const Result<T>& part, CommandIo& io) {
    if (part.has_value()) return {};
    if (!IsDamage(part.error())) return Fail(part.error());
    Report(object, {part.error().context}, io);
    return {};
  }

  ExitStatus Conclude(const std::string& what, CommandIo& io) const {
    std::fprintf(io.out, "%s: %zu %s\n", what.c_str(), findings_,
                 findings_ == 1 ? "finding" : "findings");
    return findings_ == 0 ? ExitStatus::kSuccess : ExitStatus::kCorrupt;
  }

  Status CheckBlobs(const ImageReference& image, const std::vector<BlobCheck>& blobs,
                    CommandIo& io) {
    LAYERFS_TRY(stores, image_.services().Stores());
    LAYERFS_TRY(reader, stores->OpenReader(image));
    for (const BlobCheck& blob : blobs) {
      LAYERFS_CHECK_OK(
          blob.Run(*reader, stopped_, [&](const std::string& object, const std::string& finding) {
            Report(object, {finding}, io);
          }));
    }
    return {};
  }

  void Report(const std::string& object, const std::vector<std::string>& findings, CommandIo& io) {
    for (const std::string& finding : findings) {
      std::fprintf(io.err, "%s: %s\n", object.c_str(), EscapeForTerminal(finding).c_str());
    }
    findings_ += findings.size();
  }

  // What the indexes say that the tars are, against what the config says.
  void CheckDiffIds(const Index& tree, const std::vector<Digest>& diff_ids, CommandIo& io) {
    if (diff_ids.size() != tree.layers().size()) {
      Report("config",
             {std::to_string(diff_ids.size()) + " diff IDs for " +
              std::to_string(tree.layers().size()) + " layers"},
             io);
      return;
    }
    for (size_t i = 0; i < diff_ids.size(); ++i) {
      CheckDiffId(tree.layers()[i].blob, tree.layers()[i].diff_id, diff_ids[i], io);
    }
  }
  void CheckDiffId(const Digest& blob, const Digest& tar, const Digest& diff_id, CommandIo& io) {
    if (tar == diff_id) return;
    Report("layer " + blob.ToString(),
           {"its index is of the tar " + tar.ToString() + "; the config's diff ID says " +
            diff_id.ToString()},
           io);
  }

  ImageArgument image_;
  bool data_ = false;
  bool referrers_ = false;
  const std::atomic<bool>* stopped_ = nullptr;
  size_t findings_ = 0;
};

}  // namespace

std::unique_ptr<Command> MakeCheckCommand() { return std::make_unique<CheckCommand>(); }

}  // namespace layerfs

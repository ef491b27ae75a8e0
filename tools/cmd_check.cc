// SPDX-License-Identifier: Apache-2.0

#include <algorithm>

#include "fs/chunk_wait.h"
#include "index/index_check.h"
#include "tools/chunk_tables.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/text.h"

namespace layerfs {
namespace {

// What the chunks of a layer make together.
struct LayerTar {
  Sha256 hash;
  bool complete = true;  // no chunk was bad
};

// How many chunks are fetched at once: enough to fill a link, few enough to stay small.
constexpr size_t kChunksAtOnce = 16;

class CheckCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("check", "verify an image's indexes and data");
    image_.Declare(*app);
    app->add_flag("--data", data_, "Read and verify every chunk from the source, not the cache");
    Document(
        *app,
        {"  Checks the structure of every layer's index, of the merged tree and of the chunk "
         "tables,\n"
         "  beyond what mounting does. With --data every chunk is fetched and compared with its\n"
         "  digest, and what all chunks of a layer make with the diff ID that the config says. "
         "Every\n"
         "  finding is a line; the exit status is 5 where there is one.",
         {"layerfs check oci:/images/app:1", "layerfs check --data docker://example.com/app:1"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(image, image_.Open());
    LAYERFS_TRY(scheduler, image_.services().Fetcher());
    LAYERFS_TRY(cache, image_.services().Cache());
    const Index& tree = image->tree();
    Report("tree", CheckIndex(tree), io);
    std::vector<Index> layers;
    for (size_t i = 0; i < tree.layers().size(); ++i) {
      LAYERFS_TRY(layer, image->LoadLayerIndex(LayerNumber{static_cast<uint16_t>(i)}));
      Report("layer " + tree.layers()[i].blob.ToString(), CheckIndex(layer), io);
      layers.push_back(std::move(layer));
    }
    LAYERFS_TRY(config, image->Config());
    CheckDiffIds(tree, config.diff_ids, io);
    std::vector<LayerTar> tars(tree.layers().size());
    LAYERFS_CHECK_OK(ForEachSegment(
        *image, *scheduler, *cache,
        [&](const SegmentRef& segment, const ChunkTableSegment& table) -> Status {
          const auto blob = image->layer_blob(segment.layer);
          Report("blob " + blob->digest.ToString(), CheckSegment(table, blob->size), io);
          Report("layer " + blob->digest.ToString(),
                 CheckContents(layers[ToUint(segment.layer)], table), io);
          if (data_) CheckData(blob, table, *scheduler, tars[ToUint(segment.layer)], io);
          chunks_ += table.chunks().size();
          return {};
        }));
    if (data_) CheckTars(tree, tars, io);
    std::fprintf(io.out, "%u inodes, %llu chunks%s: %zu findings\n", tree.inode_count(),
                 static_cast<unsigned long long>(chunks_), data_ ? " with their data" : "",
                 findings_);
    return findings_ == 0 ? ExitStatus::kSuccess : ExitStatus::kCorrupt;
  }

 private:
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
      const LayerInfo& layer = tree.layers()[i];
      if (layer.diff_id == diff_ids[i]) continue;
      Report("layer " + layer.blob.ToString(),
             {"its index is of the tar " + layer.diff_id.ToString() +
              "; the config's diff ID says " + diff_ids[i].ToString()},
             io);
    }
  }

  void CheckTars(const Index& tree, std::vector<LayerTar>& tars, CommandIo& io) {
    for (size_t i = 0; i < tars.size(); ++i) {
      if (!tars[i].complete) continue;
      const LayerInfo& layer = tree.layers()[i];
      const Digest tar = tars[i].hash.Finish();
      if (tar == layer.diff_id) continue;
      Report("layer " + layer.blob.ToString(),
             {"its chunks make the tar " + tar.ToString() + "; its diff ID is " +
              layer.diff_id.ToString()},
             io);
    }
  }

  // The chunks of a layer come in the tar's order.
  void CheckData(const std::shared_ptr<const SourceBlob>& blob, const ChunkTableSegment& table,
                 Scheduler& scheduler, LayerTar& tar, CommandIo& io) {
    const auto chunks = table.chunks();
    for (size_t begin = 0; begin < chunks.size(); begin += kChunksAtOnce) {
      const auto batch = chunks.subspan(begin, std::min(kChunksAtOnce, chunks.size() - begin));
      std::vector<ChunkRequest> requests;
      for (const Chunk& chunk : batch) requests.push_back(Request(blob, chunk));
      const auto all = FetchAllAndWait(scheduler, requests);
      if (all.has_value()) {
        for (const SharedBytes& bytes : *all) tar.hash.Update(*bytes);
        continue;
      }
      tar.complete = false;
      // Something in the batch is wrong: once more, one by one, to name each.
      for (const Chunk& chunk : batch) {
        const auto fetched = scheduler.FetchAndWait(Request(blob, chunk));
        if (fetched.has_value()) continue;
        // The error names image, blob and range.
        Report("chunk " + chunk.ref.digest.ToString(), {fetched.error().context}, io);
      }
    }
  }

  static ChunkRequest Request(const std::shared_ptr<const SourceBlob>& blob, const Chunk& chunk) {
    ChunkRequest request;
    request.blob = blob;
    request.chunk = chunk.ref;
    request.is_told = true;
    return request;
  }

  ImageArgument image_;
  bool data_ = false;
  uint64_t chunks_ = 0;
  size_t findings_ = 0;
};

}  // namespace

std::unique_ptr<Command> MakeCheckCommand() { return std::make_unique<CheckCommand>(); }

}  // namespace layerfs

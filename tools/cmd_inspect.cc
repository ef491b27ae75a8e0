// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <charconv>
#include <optional>
#include <vector>

#include "index/index_dump.h"
#include "index/layer_footer.h"
#include "tools/chunk_tables.h"
#include "tools/command.h"
#include "tools/image_options.h"
#include "tools/text.h"

namespace layerfs {
namespace {

// The manifest that a reference means, converted or not.
Result<RawDocument> ReadImageManifest(ImageReader& reader, const ImageReference& reference,
                                      const std::optional<Platform>& platform) {
  LAYERFS_TRY(root, reader.ReadRoot());
  if (!media_type::IsIndex(root.media_type)) return root;
  LAYERFS_TRY_IN(index, ImageIndex::Parse(root.raw), reference.ToString());
  const Platform wanted = platform.value_or(Platform::Host());
  for (const Descriptor& manifest : index.manifests) {
    if (media_type::IsManifest(manifest.media_type) && manifest.artifact_type.empty() &&
        (!manifest.platform.has_value() || manifest.platform->Satisfies(wanted))) {
      return reader.ReadManifest(manifest);
    }
  }
  return Fail(ErrorCode::kNotFound, reference.ToString() + ": no image for " + wanted.ToString());
}

class InspectCommand final : public Command {
 public:
  CLI::App* Declare(CLI::App& parent) override {
    CLI::App* app = parent.add_subcommand("inspect", "show what an image is made of");
    image_.Declare(*app);
    app->add_flag("--chunks", chunks_, "List the chunks as well (converted images)");
    app->add_option("--index", index_,
                    "Dump an index as text instead: the merged tree's, or layer 1's, 2's, …")
        ->type_name("tree|NUMBER");
    app->add_flag("--json", json_, "Print JSON");
    Document(
        *app,
        {"  The manifest, its layers and, where they are converted, what their indexes hold.\n"
         "  With --chunks, a line a chunk: layer, offset in the tar, size, offset in the blob,\n"
         "  stored size, digest. With --index, a line a layer, segment, path, chunk and content:\n"
         "  all that the index says, in an order that does not depend on how it is stored.",
         {"layerfs inspect oci:/images/app:1", "layerfs inspect --index 2 oci:/images/app:1",
          "layerfs inspect --json docker://example.com/app"}});
    return app;
  }

  Result<ExitStatus> Run(CommandIo& io) override {
    LAYERFS_TRY(reference, image_.Reference());
    LAYERFS_TRY(stores, image_.services().Stores());
    LAYERFS_TRY(reader, stores->OpenReader(reference));
    LAYERFS_TRY(options, image_.LoadOptions());
    LAYERFS_TRY(document, ReadImageManifest(*reader, reference, options.platform));
    LAYERFS_TRY_IN(manifest, Manifest::Parse(document.raw), reference.ToString());
    bool converted = !manifest.layers.empty();
    for (const Descriptor& layer : manifest.layers) {
      LAYERFS_TRY(index, DecodeIndexAnnotations(layer.annotations, layer.size));
      converted = converted && index.has_value();
    }
    if ((chunks_ || !index_.empty()) && !converted) {
      return Fail(ErrorCode::kUnsupported, reference.ToString() +
                                               ": is not converted and has no chunks; convert it: "
                                               "layerfs convert " +
                                               reference.ToString() + " DESTINATION");
    }
    if (!index_.empty()) {
      LAYERFS_CHECK_OK(Dump(io));
      return ExitStatus::kSuccess;
    }
    Json report = Summary(reference, document, manifest, converted);
    if (converted) {
      LAYERFS_TRY(image, image_.Open());
      LAYERFS_CHECK_OK(AddIndexes(*image, report));
      if (chunks_) LAYERFS_CHECK_OK(AddChunks(*image, report));
    }
    if (json_) {
      std::fprintf(io.out, "%s\n", report.dump(2).c_str());
    } else {
      Print(report, io);
    }
    return ExitStatus::kSuccess;
  }

 private:
  // Of --index; nothing: the tree.
  Result<std::optional<LayerNumber>> WantedLayer(size_t layer_count) const {
    if (index_ == "tree") return std::nullopt;
    size_t number = 0;
    const char* const end = index_.data() + index_.size();
    const auto [stop, error] = std::from_chars(index_.data(), end, number);
    if (error != std::errc{} || stop != end || number < 1 || number > layer_count) {
      return Fail(ErrorCode::kInvalidArgument,
                  "--index " + index_ + ": write \"tree\" or 1 to " + std::to_string(layer_count));
    }
    return LayerNumber{static_cast<uint16_t>(number - 1)};
  }

  Status Dump(CommandIo& io) {
    LAYERFS_TRY(image, image_.Open());
    const size_t layers = image->tree().layers().size();
    const LineSink print = [&io](std::string_view line) -> Status {
      if (std::fwrite(line.data(), 1, line.size(), io.out) == line.size() &&
          std::fputc('\n', io.out) != EOF) {
        return {};
      }
      return FlushOutput(io);
    };
    LAYERFS_TRY(layer, WantedLayer(layers));
    LAYERFS_TRY(scheduler, image_.services().Fetcher());
    LAYERFS_TRY(cache, image_.services().Cache());
    std::vector<ChunkTableSegment> segments;
    LAYERFS_CHECK_OK(
        ForEachSegment(*image, *scheduler, *cache,
                       [&](const SegmentRef& segment, const ChunkTableSegment& table) -> Status {
                         if (!layer.has_value() || *layer == segment.layer)
                           segments.push_back(table);
                         return {};
                       }));
    if (!layer.has_value()) return DumpIndex(image->tree(), segments, print);
    LAYERFS_TRY(index, image->LoadLayerIndex(*layer));
    return DumpIndex(index, segments, print);
  }

  static Json Summary(const ImageReference& reference, const RawDocument& document,
                      const Manifest& manifest, bool converted) {
    Json layers = Json::array();
    for (const Descriptor& layer : manifest.layers) {
      layers.push_back({{"digest", layer.digest.ToString()},
                        {"mediaType", layer.media_type},
                        {"size", layer.size}});
    }
    return {{"image", reference.ToString()},    {"digest", document.digest.ToString()},
            {"mediaType", document.media_type}, {"config", manifest.config.digest.ToString()},
            {"converted", converted},           {"layers", layers}};
  }

  static Status AddIndexes(Image& image, Json& report) {
    const Index& tree = image.tree();
    report["tree"] = {{"inodes", tree.inode_count()},
                      {"fileBytes", tree.total_file_bytes()},
                      {"indexBytes", tree.bytes().size()},
                      {"segments", tree.segment_count()}};
    for (size_t i = 0; i < tree.layers().size(); ++i) {
      const LayerInfo& info = tree.layers()[i];
      LAYERFS_TRY(index, image.LoadLayerIndex(LayerNumber{static_cast<uint16_t>(i)}));
      Json& layer = report["layers"][i];
      layer["diffId"] = info.diff_id.ToString();
      layer["tarSize"] = info.tar_size;
      layer["inodes"] = index.inode_count();
      layer["indexBytes"] = index.bytes().size();
      layer["segments"] = info.segment_count;
    }
    return {};
  }

  Status AddChunks(Image& image, Json& report) {
    LAYERFS_TRY(scheduler, image_.services().Fetcher());
    LAYERFS_TRY(cache, image_.services().Cache());
    for (Json& layer : report["layers"]) layer["chunks"] = Json::array();
    return ForEachSegment(image, *scheduler, *cache,
                          [&](const SegmentRef& segment, const ChunkTableSegment& table) -> Status {
                            for (const Chunk& chunk : table.chunks()) {
                              report["layers"][ToUint(segment.layer)]["chunks"].push_back(
                                  {{"tarOffset", chunk.tar_offset},
                                   {"size", chunk.ref.size},
                                   {"blobOffset", chunk.ref.blob_offset},
                                   {"storedSize", chunk.ref.stored_size},
                                   {"digest", chunk.ref.digest.ToString()}});
                            }
                            return {};
                          });
  }

  static void Print(const Json& report, CommandIo& io) {
    std::fprintf(io.out, "image:     %s\n", report["image"].get<std::string>().c_str());
    std::fprintf(io.out, "manifest:  %s\n", report["digest"].get<std::string>().c_str());
    std::fprintf(io.out, "config:    %s\n", report["config"].get<std::string>().c_str());
    std::fprintf(io.out, "converted: %s\n", report["converted"].get<bool>() ? "yes" : "no");
    if (report.contains("tree")) {
      const Json& tree = report["tree"];
      std::fprintf(io.out, "tree:      %s inodes, %s of files, index of %s\n",
                   tree["inodes"].dump().c_str(),
                   FormatBytes(tree["fileBytes"].get<uint64_t>()).c_str(),
                   FormatBytes(tree["indexBytes"].get<uint64_t>()).c_str());
    }
    for (const Json& layer : report["layers"]) {
      std::fprintf(io.out, "layer:     %s  %s  %s\n", layer["digest"].get<std::string>().c_str(),
                   FormatBytes(layer["size"].get<uint64_t>()).c_str(),
                   layer["mediaType"].get<std::string>().c_str());
      if (layer.contains("inodes")) {
        std::fprintf(io.out, "           %s inodes, tar of %s, index of %s\n",
                     layer["inodes"].dump().c_str(),
                     FormatBytes(layer["tarSize"].get<uint64_t>()).c_str(),
                     FormatBytes(layer["indexBytes"].get<uint64_t>()).c_str());
      }
      if (!layer.contains("chunks")) continue;
      for (const Json& chunk : layer["chunks"]) {
        std::fprintf(io.out, "  chunk:   tar %s+%s  blob %s+%s  %s\n",
                     chunk["tarOffset"].dump().c_str(), chunk["size"].dump().c_str(),
                     chunk["blobOffset"].dump().c_str(), chunk["storedSize"].dump().c_str(),
                     chunk["digest"].get<std::string>().c_str());
      }
    }
  }

  ImageArgument image_;
  bool chunks_ = false;
  std::string index_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeInspectCommand() { return std::make_unique<InspectCommand>(); }

}  // namespace layerfs

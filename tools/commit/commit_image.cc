// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/commit_image.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <utility>

#include "fetch/manifest.h"
#include "index/base/rfc3339.h"
#include "tools/commit/config_change.h"
#include "tools/commit/layer_changes.h"
#include "tools/commit/layer_tar.h"
#include "tools/convert/compression_pool.h"
#include "tools/convert/converted_documents.h"
#include "tools/convert/known_layers.h"
#include "tools/convert/layer_converter.h"
#include "tools/convert/layer_placer.h"

namespace layerfs {
namespace {

class NoProgress final : public ConvertProgress {
 public:
  void OnLayers(size_t /*layer_count*/) override {}
  void OnProgress(const LayerProgress& /*progress*/) override {}
};

// The members that tell about the container or the image which an older builder made this from.
constexpr std::array kStaleMembers = {"container", "container_config", "docker_version", "id",
                                      "parent"};

Json EmptyConfig() {
  const Platform host = Platform::Host();
  Json config = {{"created", ""}, {"architecture", host.architecture}, {"os", host.os}};
  if (!host.variant.empty()) config["variant"] = host.variant;
  config["config"] = Json::object();
  config["rootfs"] = {{"type", "layers"}, {"diff_ids", Json::array()}};
  config["history"] = Json::array();
  return config;
}

class Commit {
 public:
  Commit(const ContainerLayer& layer, const CommitBase& base, const CommitOptions& options,
         ImageStores& stores)
      : layer_(layer), base_(base), options_(options), stores_(stores) {}

  Result<CommitReport> Run() {
    LAYERFS_CHECK_OK(options_.policy.Validate());
    LAYERFS_TRY(config, MakeConfig());
    LAYERFS_TRY(writer, stores_.OpenWriter(options_.destination));
    LAYERFS_CHECK_OK_IN(writer->CheckAccess(), writer->name());
    writer_ = std::move(writer);
    const Index* const tree = base_.image != nullptr ? &base_.image->tree() : nullptr;
    LAYERFS_TRY_IN(changes, ReadLayerChanges(layer_, tree), layer_.directory());
    report_.notes = changes.notes;
    report_.entries = static_cast<size_t>(std::ranges::count_if(
        changes.entries, [](const LayerEntry& entry) { return entry.in_tar; }));

    std::vector<Descriptor> layers;
    LAYERFS_CHECK_OK(PlaceBaseLayers(layers));
    // Nothing changed: as with an instruction that changes the config only.
    const bool empty = report_.entries == 0;
    if (!empty) LAYERFS_CHECK_OK(PlaceNewLayer(changes, layers, config));
    AddHistory(config, empty);
    LAYERFS_CHECK_OK(WriteDocuments(config, std::move(layers)));
    return std::move(report_);
  }

 private:
  Result<Json> MakeConfig() {
    Json config = EmptyConfig();
    if (base_.image != nullptr) {
      LAYERFS_TRY(image, base_.image->Config());
      config = image.document;
    }
    for (const char* member : kStaleMembers) config.erase(member);
    LAYERFS_CHECK_OK(ApplyConfigChanges(options_.changes, config["config"]));
    config["created"] = FormatRfc3339(options_.created);
    if (!options_.author.empty()) config["author"] = options_.author;
    return config;
  }

  void AddHistory(Json& config, bool empty) const {
    Json entry = {{"created", FormatRfc3339(options_.created)}, {"created_by", "layerfs commit"}};
    if (!options_.author.empty()) entry["author"] = options_.author;
    if (!options_.message.empty()) entry["comment"] = options_.message;
    if (empty) entry["empty_layer"] = true;
    Json& history = config["history"];
    if (!history.is_array()) history = Json::array();
    history.push_back(std::move(entry));
  }

  Status PlaceBaseLayers(std::vector<Descriptor>& layers) {
    if (base_.image == nullptr) return {};
    LAYERFS_TRY(reader, stores_.OpenReader(base_.image->reference()));
    LAYERFS_TRY(written, stores_.OpenReader(options_.destination));
    LAYERFS_TRY(config, base_.image->Config());
    const std::vector<Descriptor>& base_layers = base_.image->manifest().layers;
    if (config.diff_ids.size() != base_layers.size()) {
      return Fail(ErrorCode::kCorrupt, base_.image->reference().ToString() + ": its config lists " +
                                           std::to_string(config.diff_ids.size()) +
                                           " diff IDs for " + std::to_string(base_layers.size()) +
                                           " layers");
    }
    NoProgress progress;
    const std::atomic<bool> cancelled{false};
    for (size_t i = 0; i < base_layers.size(); ++i) {
      const Descriptor& layer = base_layers[i];
      ConvertOptions options;
      options.source = base_.image->reference();
      options.destination = options_.destination;
      options.policy = options_.policy;
      // Whatever the new layer is: these stay as they are.
      options.policy.compression = layer.media_type == media_type::kOciLayerZstd
                                       ? LayerCompression::kZstd
                                       : LayerCompression::kGzip;
      CompressionPool pool(1, options.policy.level, options.policy.compression);
      const KnownLayers known(options.policy.Fingerprint());
      const LayerPlacer placer({options, *reader, *writer_, *written, known, pool, progress,
                                cancelled, InFlightBytes(1, 1)});
      LAYERFS_TRY(placed, placer.Place({0, layer, config.diff_ids[i], true}));
      // Not copied: what its place has now is not what was mounted.
      layers.push_back(placed.outcome == LayerOutcome::kCopied ? layer
                                                               : ReplaceLayer(layer, placed.layer));
    }
    return {};
  }

  Status PlaceNewLayer(const LayerChanges& changes, std::vector<Descriptor>& layers, Json& config) {
    const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    CompressionPool pool(threads, options_.policy.level, options_.policy.compression);
    const BlobReader write_tar = [&](const BlobConsumer& consume) {
      return WriteLayerTar(changes, layer_, base_.reader, consume);
    };
    LAYERFS_TRY_IN(converted,
                   ConvertLayer(write_tar, {options_.policy, InFlightBytes(threads, 1), "", &pool}),
                   layer_.directory());
    const uint64_t size = converted.spool.size();
    LAYERFS_TRY(there, writer_->HasBlob(converted.digest, size));
    if (!there) {
      LAYERFS_CHECK_OK_IN(writer_->WriteBlob(converted.digest, size, converted.spool.fd(),
                                             [](uint64_t /*sent*/) {}),
                          writer_->name());
    }
    const ConvertedBlob blob{converted.digest,
                             size,
                             converted.index,
                             converted.digest,
                             options_.policy.Fingerprint(),
                             options_.policy.compression};
    Descriptor descriptor = ConvertedLayerDescriptor(blob);
    descriptor.annotations.erase(kSourceDigestAnnotation);  // It was made from no other blob.
    layers.push_back(std::move(descriptor));
    Json& rootfs = config["rootfs"];
    rootfs["diff_ids"].push_back(converted.diff_id.ToString());
    report_.layer_size = size;
    return {};
  }

  Status WriteDocuments(const Json& config, std::vector<Descriptor> layers) {
    std::string text;
    try {
      text = config.dump();
    } catch (const Json::exception&) {
      return Fail(ErrorCode::kInvalidArgument,
                  "the message, the author or a change is not UTF-8; a config cannot say it");
    }
    const Digest digest = Digest::Of(AsBytes(text));
    LAYERFS_TRY(spool, SpoolFile::Open(""));
    LAYERFS_CHECK_OK(spool.Append(AsBytes(text)));
    LAYERFS_TRY(there, writer_->HasBlob(digest, text.size()));
    if (!there) {
      LAYERFS_CHECK_OK_IN(
          writer_->WriteBlob(digest, text.size(), spool.fd(), [](uint64_t /*sent*/) {}),
          writer_->name());
    }
    Manifest manifest;
    if (base_.image != nullptr) manifest.annotations = base_.image->manifest().annotations;
    manifest.config.media_type = media_type::kOciConfig;
    manifest.config.digest = digest;
    manifest.config.size = text.size();
    const RawDocument root = ConvertedManifest(manifest, std::move(layers));
    LAYERFS_CHECK_OK_IN(writer_->WriteRoot(root), writer_->name());
    report_.manifest = root.digest;
    return {};
  }

  const ContainerLayer& layer_;
  const CommitBase& base_;
  const CommitOptions& options_;
  ImageStores& stores_;
  std::shared_ptr<ImageWriter> writer_;
  CommitReport report_;
};

}  // namespace

Result<CommitReport> CommitImage(const ContainerLayer& layer, const CommitBase& base,
                                 const CommitOptions& options, ImageStores& stores) {
  return Commit(layer, base, options, stores).Run();
}

}  // namespace layerfs

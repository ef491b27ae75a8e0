// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/convert_image.h"

#include <string.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <ranges>
#include <thread>
#include <utility>

#include "index/base/log.h"
#include "index/base/synchronized.h"
#include "index/base/thread_pool.h"
#include "index/layer_footer.h"
#include "index/mutable_tree.h"
#include "tools/convert/compression_pool.h"
#include "tools/convert/converted_documents.h"
#include "tools/convert/known_layers.h"
#include "tools/convert/layer_converter.h"
#include "tools/convert/layer_placer.h"
#include "tools/convert/merge_check.h"
#include "tools/convert/source_image.h"

namespace layerfs {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Layers that are read, converted and written side by side: one's download hides behind another's
// compression. More would not make the processors busier.
constexpr int kMaxLayersAtOnce = 4;

// Of the destination's repository: each costs a few round trips, where a layer costs seconds.
constexpr size_t kMaxTagsListed = 1000;
constexpr size_t kMaxTagsRead = 8;

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// The distinct layers of all images, in the order in which the manifests list them.
struct LayerTable {
  std::vector<LayerTask> tasks;
  std::map<Digest, size_t> rows;  // by source digest
};

Result<LayerTable> ListLayers(const std::vector<SourceImage>& images) {
  LayerTable table;
  for (const SourceImage& image : images) {
    for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
      const Descriptor& layer = image.manifest.layers[i];
      const auto [row, is_new] = table.rows.emplace(layer.digest, table.tasks.size());
      if (is_new) {
        table.tasks.push_back({table.tasks.size(), layer, image.diff_ids[i]});
      } else if (table.tasks[row->second].diff_id != image.diff_ids[i]) {
        return Fail(ErrorCode::kCorrupt,
                    "layer " + layer.digest.ToString() + ": configs name two diff IDs for it");
      }
    }
  }
  return table;
}

// Whether the indexes of converted layers are so small together that no limit of a tree
// (index/mutable_tree.h) is near.
bool AreSmallTogether(const std::vector<Descriptor>& layers) {
  uint64_t bytes = 0;
  for (const Descriptor& layer : layers) {
    const auto index = DecodeIndexAnnotations(layer.annotations, layer.size);
    if (!index.has_value() || !index->has_value()) return false;
    bytes += (*index)->size;
  }
  return bytes < std::min(kMaxTreeXattrBytes, kMaxTreeNameBytes);
}

// One conversion, once its source and destination are open.
class ImageConversion {
 public:
  struct Stores {
    std::shared_ptr<ImageReader> reader;
    std::shared_ptr<ImageWriter> writer;
    std::shared_ptr<ImageReader> written;  // reads what the writer has written
    ImageStores& all;
  };
  ImageConversion(const ConvertOptions& options, Stores stores, ConvertProgress& progress)
      : options_(options),
        stores_(std::move(stores)),
        progress_(progress),
        threads_(options.threads > 0 ? options.threads
                                     : static_cast<int>(std::thread::hardware_concurrency())),
        known_(options.policy.Fingerprint()) {}

  KnownLayers& known() { return known_; }
  Result<ConvertReport> Run();

 private:
  struct Outcome {
    size_t next = 0;  // in the order of work
    Status status;
    std::vector<PlacedLayer> placed;
    std::vector<double> seconds;
  };

  bool AllAreKnown(const LayerTable& table) const;
  void LearnFromOtherTags(const LayerTable& table);
  int LayersAtOnce(size_t layer_count) const;
  Status PlaceLayers(const LayerTable& table, const LayerPlacer& placer, int layers_at_once);
  void PlaceNext(const LayerTable& table, const std::vector<size_t>& order,
                 const LayerPlacer& placer);
  std::vector<Descriptor> ConvertedLayers(const SourceImage& image, const LayerTable& table) const;
  // That it can be mounted.
  Status CheckTree(const SourceImage& image, const LayerTable& table) const;
  RawDocument Rewrite(const SourceImage& image, const LayerTable& table) const;
  Status WriteDocuments(const SourceImages& source, const LayerTable& table, ConvertReport& report);
  void FillReport(const SourceImages& source, const LayerTable& table, ConvertReport& report);
  void Remember(const LayerTable& table);

  const ConvertOptions& options_;
  const Stores stores_;
  ConvertProgress& progress_;
  const int threads_;
  KnownLayers known_;
  std::atomic<bool> cancelled_{false};
  Synchronized<Outcome> outcome_;
  // outcome_.placed once all threads are through.
  std::vector<PlacedLayer> placed_;
};

Result<ConvertReport> ImageConversion::Run() {
  LAYERFS_TRY(source, ReadSource(*stores_.reader, options_.platforms));
  LAYERFS_TRY_IN(table, ListLayers(source.images), stores_.reader->name());
  progress_.OnLayers(table.tasks.size());
  if (!options_.force) LearnFromOtherTags(table);

  CompressionPool pool(threads_, options_.policy.level, options_.policy.compression);
  const int at_once = LayersAtOnce(table.tasks.size());
  const LayerPlacer placer({options_, *stores_.reader, *stores_.writer, *stores_.written, known_,
                            pool, progress_, cancelled_, InFlightBytes(threads_, at_once)});
  LAYERFS_CHECK_OK(PlaceLayers(table, placer, at_once));
  for (const SourceImage& image : source.images) LAYERFS_CHECK_OK(CheckTree(image, table));
  for (const SourceImage& image : source.images) {
    LAYERFS_CHECK_OK(placer.PlaceBytes(image.manifest.config.digest, image.config));
  }
  if (options_.stopped != nullptr && options_.stopped->load()) {
    return Fail(ErrorCode::kCancelled, "cancelled");
  }
  ConvertReport report;
  LAYERFS_CHECK_OK(WriteDocuments(source, table, report));
  Remember(table);
  FillReport(source, table, report);
  return report;
}

bool ImageConversion::AllAreKnown(const LayerTable& table) const {
  return std::ranges::all_of(table.tasks, [&](const LayerTask& task) {
    return StaysAsItIs(task.source, options_) ||
           known_.Find(task.source.digest, task.diff_id).has_value();
  });
}

// A release is often a new tag of the repository, made on a machine that has no memo.
void ImageConversion::LearnFromOtherTags(const LayerTable& table) {
  if (AllAreKnown(table)) return;
  auto tags = stores_.written->ListTags(kMaxTagsListed);
  if (!tags.has_value()) return LogDebug("no tags to learn from: " + tags.error().context);
  // Signatures and what else belongs to an image by its digest are not images (referrers tag
  // schema).
  std::erase_if(*tags, [](const std::string& tag) { return tag.starts_with("sha256-"); });
  // The last versions first, "9" before "10".
  std::ranges::sort(*tags, [](const std::string& a, const std::string& b) {
    return ::strverscmp(a.c_str(), b.c_str()) > 0;
  });
  for (const std::string& tag : *tags | std::views::take(kMaxTagsRead)) {
    if (options_.stopped != nullptr && options_.stopped->load()) return;
    ImageReference other = options_.destination;
    other.digest.reset();
    other.tag = tag;
    if (other == options_.destination) continue;
    const auto reader = stores_.all.OpenReader(other);
    if (reader.has_value()) known_.LearnFromImage(**reader, other);
    if (AllAreKnown(table)) return;
  }
}

int ImageConversion::LayersAtOnce(size_t layer_count) const {
  const int wanted = std::clamp(threads_, 2, kMaxLayersAtOnce);
  return static_cast<int>(std::clamp<size_t>(layer_count, 1, static_cast<size_t>(wanted)));
}

Status ImageConversion::PlaceLayers(const LayerTable& table, const LayerPlacer& placer,
                                    int layers_at_once) {
  // Large layers first, so that none is left over at the end with nothing beside it.
  std::vector<size_t> order(table.tasks.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](size_t row) { return table.tasks[row].source.size; });
  outcome_.With([&](Outcome& outcome) {
    outcome.placed.resize(order.size());
    outcome.seconds.resize(order.size());
  });
  {
    ThreadPool readers("layer", layers_at_once);
    for (int i = 0; i < layers_at_once; ++i) {
      readers.Submit([&] { PlaceNext(table, order, placer); });
    }
  }
  return outcome_.With([&](Outcome& outcome) {
    placed_ = outcome.placed;
    return outcome.status;
  });
}

// Takes layers until there are none or one has failed.
void ImageConversion::PlaceNext(const LayerTable& table, const std::vector<size_t>& order,
                                const LayerPlacer& placer) {
  while (true) {
    const size_t next = outcome_.With([](Outcome& outcome) { return outcome.next++; });
    if (next >= order.size() || cancelled_.load()) return;
    const size_t row = order[next];
    const auto start = SteadyClock::now();
    Result<PlacedLayer> placed = placer.Place(table.tasks[row]);
    outcome_.With([&](Outcome& outcome) {
      outcome.seconds[row] = SecondsSince(start);
      if (placed.has_value()) {
        outcome.placed[row] = std::move(*placed);
      } else if (outcome.status.has_value()) {
        outcome.status = Fail(std::move(placed).error());
      }
    });
    if (!placed.has_value()) cancelled_.store(true);
  }
}

std::vector<Descriptor> ImageConversion::ConvertedLayers(const SourceImage& image,
                                                         const LayerTable& table) const {
  std::vector<Descriptor> layers;
  layers.reserve(image.manifest.layers.size());
  for (const Descriptor& layer : image.manifest.layers) {
    layers.push_back(ReplaceLayer(layer, placed_[table.rows.at(layer.digest)].layer));
  }
  return layers;
}

Status ImageConversion::CheckTree(const SourceImage& image, const LayerTable& table) const {
  const bool links_below = std::ranges::any_of(image.manifest.layers, [&](const auto& layer) {
    return placed_[table.rows.at(layer.digest)].links_below;
  });
  const std::vector<Descriptor> layers = ConvertedLayers(image, table);
  if (!links_below && AreSmallTogether(layers)) return {};
  LAYERFS_CHECK_OK_IN(CheckMerge(*stores_.written, layers), stores_.reader->name());
  return {};
}

RawDocument ImageConversion::Rewrite(const SourceImage& image, const LayerTable& table) const {
  return ConvertedManifest(image.manifest, ConvertedLayers(image, table));
}

Status ImageConversion::WriteDocuments(const SourceImages& source, const LayerTable& table,
                                       ConvertReport& report) {
  std::vector<ConvertedEntry> entries;
  entries.reserve(source.images.size());
  for (const SourceImage& image : source.images) {
    entries.push_back({image.entry, image.platform, Rewrite(image, table)});
  }
  RawDocument root = entries.front().manifest;
  if (source.index.has_value()) {
    for (const ConvertedEntry& entry : entries) {
      LAYERFS_CHECK_OK_IN(stores_.writer->WriteManifest(entry.manifest), stores_.writer->name());
    }
    root = ConvertedIndex(*source.index, entries);
  }
  if (root.raw.size() > kMaxManifestBytes) {
    return Fail(ErrorCode::kTooLarge, stores_.writer->name() + ": the converted " +
                                          root.media_type + " would have " +
                                          std::to_string(root.raw.size()) + " bytes");
  }
  report.root = root.digest;
  if (options_.set_tag) {
    LAYERFS_CHECK_OK_IN(stores_.writer->WriteManifest(root), stores_.writer->name());
    LAYERFS_TRY(named, options_.set_tag(root.digest));
    report.root = named;
  } else {
    LAYERFS_CHECK_OK_IN(stores_.writer->WriteRoot(root), stores_.writer->name());
  }
  report.root_media_type = root.media_type;
  return {};
}

void ImageConversion::FillReport(const SourceImages& source, const LayerTable& table,
                                 ConvertReport& report) {
  const std::vector<double> seconds =
      outcome_.With([](Outcome& outcome) { return outcome.seconds; });
  for (size_t row = 0; row < table.tasks.size(); ++row) {
    const Descriptor& from = table.tasks[row].source;
    const PlacedLayer& to = placed_[row];
    report.layers.push_back({from.digest, from.size, to.layer.digest, to.layer.size, to.tar_size,
                             to.outcome, seconds[row]});
  }
  for (const SourceImage& image : source.images) report.platforms.push_back(image.platform);
  report.notes = source.notes;
}

// Only a hint for the next time: that it cannot be kept is no failure.
void ImageConversion::Remember(const LayerTable& table) {
  if (options_.cache_directory.empty()) return;
  std::vector<KnownLayer> converted;
  for (size_t row = 0; row < table.tasks.size(); ++row) {
    if (placed_[row].outcome == LayerOutcome::kCopied) continue;
    converted.push_back(
        {placed_[row].layer, table.tasks[row].diff_id, PlaceOf(options_.destination)});
  }
  const Status saved = AddToMemo(options_.cache_directory, converted);
  if (!saved.has_value()) LogWarning("the memo of converted layers: " + saved.error().context);
}

}  // namespace

Result<ConvertReport> ConvertImage(const ConvertOptions& options, ImageStores& stores,
                                   ConvertProgress& progress) {
  const auto start = SteadyClock::now();
  LAYERFS_CHECK_OK(options.policy.Validate());
  LAYERFS_TRY(reader, stores.OpenReader(options.source));
  LAYERFS_TRY(writer, stores.OpenWriter(options.destination));
  LAYERFS_TRY(destination, stores.OpenReader(options.destination));
  LAYERFS_CHECK_OK_IN(writer->CheckAccess(), writer->name());
  ImageConversion conversion(options, {std::move(reader), std::move(writer), destination, stores},
                             progress);
  if (!options.force) {
    if (!options.cache_directory.empty()) {
      conversion.known().LearnFromMemo(options.cache_directory);
    }
    conversion.known().LearnFromImage(*destination, options.destination);
  }
  LAYERFS_TRY(report, conversion.Run());
  report.seconds = SecondsSince(start);
  return report;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/known_layers.h"

#include <algorithm>
#include <set>

#include "fetch/oci_layout.h"
#include "index/base/file.h"
#include "index/base/json.h"
#include "index/base/log.h"
#include "tools/convert/converted_documents.h"
#include "tools/convert/source_image.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxMemoBytes = uint64_t{64} << 20;
// Some 700 bytes each; the newest stay.
constexpr size_t kMaxMemoLayers = 20000;
// Of one image or layout: hints are not worth more reading than this.
constexpr size_t kMaxManifests = 1000;
// An index in a layout's index.json.
constexpr int kMaxDepth = 3;

std::string MemoPath(const std::string& cache_directory) {
  return cache_directory + "/converted-layers.json";
}

std::string Annotation(const Descriptor& layer, const char* key) {
  const auto found = layer.annotations.find(key);
  return found == layer.annotations.end() ? "" : found->second;
}

// The memo's layers, oldest first: {"layers": [{"place": …, "diff_id": …, "descriptor": {…}},
// …]}.
Result<std::vector<KnownLayer>> ReadMemo(const std::string& cache_directory) {
  LAYERFS_TRY(raw, ReadFile(MemoPath(cache_directory), kMaxMemoBytes));
  LAYERFS_TRY(json, ParseJson(raw, kMaxMemoBytes));
  LAYERFS_TRY(members, JsonOptionalArray(json, "layers"));
  std::vector<KnownLayer> layers;
  if (members == nullptr) return layers;
  for (const Json& member : *members) {
    LAYERFS_TRY(place, JsonString(member, "place"));
    LAYERFS_TRY(object, JsonOptionalObject(member, "descriptor"));
    if (object == nullptr) return Fail(ErrorCode::kCorrupt, "a layer without a descriptor");
    LAYERFS_TRY(layer, Descriptor::FromJson(*object));
    // Memos of earlier versions did not say it.
    LAYERFS_TRY(diff_id, JsonOptionalString(member, "diff_id"));
    const Result<Digest> parsed = Digest::Parse(diff_id);
    if (parsed.has_value()) layers.push_back({std::move(layer), *parsed, std::move(place)});
  }
  return layers;
}

Bytes EncodeMemo(const std::vector<KnownLayer>& layers) {
  Json members = Json::array();
  const size_t skip = layers.size() - std::min(layers.size(), kMaxMemoLayers);
  for (size_t i = skip; i < layers.size(); ++i) {
    members.push_back({{"place", layers[i].place},
                       {"diff_id", layers[i].diff_id.ToString()},
                       {"descriptor", layers[i].layer.ToJson()}});
  }
  const std::string text = Json{{"layers", std::move(members)}}.dump();
  return {text.begin(), text.end()};
}

}  // namespace

std::string PlaceOf(const ImageReference& reference) {
  switch (reference.transport) {
    case ImageTransport::kRegistry:
      return reference.registry + "/" + reference.repository;
    case ImageTransport::kOciLayout:
      return "oci:" + reference.path;
    case ImageTransport::kDockerArchive:
      return "docker-archive:" + reference.path;
  }
  return "";
}

void KnownLayers::LearnFromImage(ImageReader& reader, const ImageReference& destination) {
  const std::string place = PlaceOf(destination);
  if (destination.transport != ImageTransport::kOciLayout) {
    const Result<RawDocument> root = reader.ReadRoot();
    if (root.has_value()) {
      LearnFromDocument(reader, *root, place, 0);
    } else {
      LogDebug("nothing to reuse at " + reader.name() + ": " + root.error().context);
    }
    return;
  }
  const Result<ImageIndex> layout = OciLayout(destination.path).ReadIndex();
  if (!layout.has_value()) return;
  const size_t count = std::min(layout->manifests.size(), kMaxManifests);
  for (size_t i = 0; i < count; ++i) LearnFromManifest(reader, layout->manifests[i], place, 0);
}

void KnownLayers::LearnFromManifest(ImageReader& reader, const Descriptor& descriptor,
                                    const std::string& place, int depth) {
  if (depth > kMaxDepth) return;
  const Result<RawDocument> document = reader.ReadManifest(descriptor);
  if (document.has_value()) return LearnFromDocument(reader, *document, place, depth);
  LogDebug("nothing to reuse: " + document.error().context);
}

void KnownLayers::LearnFromDocument(ImageReader& reader, const RawDocument& document,
                                    const std::string& place, int depth) {
  if (media_type::IsIndex(document.media_type)) {
    const Result<ImageIndex> index = ImageIndex::Parse(document.raw);
    if (!index.has_value()) return;
    const size_t count = std::min(index->manifests.size(), kMaxManifests);
    for (size_t i = 0; i < count; ++i) {
      LearnFromManifest(reader, index->manifests[i], place, depth + 1);
    }
    return;
  }
  const Result<Manifest> manifest = Manifest::Parse(document.raw);
  if (!manifest.has_value() || !std::ranges::any_of(manifest->layers, [](const Descriptor& layer) {
        return IsConvertedLayer(layer);
      })) {
    return;
  }
  const Result<Bytes> config = ReadConfig(reader, manifest->config);
  if (!config.has_value()) return;
  const Result<ImageConfig> parsed = ImageConfig::Parse(*config);
  if (!parsed.has_value() || parsed->diff_ids.size() != manifest->layers.size()) return;
  for (size_t i = 0; i < manifest->layers.size(); ++i) {
    Learn({manifest->layers[i], parsed->diff_ids[i], place});
  }
}

void KnownLayers::LearnFromMemo(const std::string& cache_directory) {
  const Result<std::vector<KnownLayer>> layers = ReadMemo(cache_directory);
  if (!layers.has_value()) {
    if (layers.error().code != ErrorCode::kNotFound) {
      LogWarning("the memo of converted layers is not used: " + layers.error().context);
    }
    return;
  }
  for (const KnownLayer& known : *layers) Learn(known);
}

void KnownLayers::Learn(const KnownLayer& known) {
  if (!IsConvertedLayer(known.layer)) return;
  if (Annotation(known.layer, kConverterAnnotation) != fingerprint_) return;
  const Result<Digest> source = Digest::Parse(Annotation(known.layer, kSourceDigestAnnotation));
  if (!source.has_value()) return;
  layers_.With([&](auto& layers) { layers[{*source, known.diff_id}] = known; });
}

std::optional<KnownLayer> KnownLayers::Find(const Digest& source, const Digest& diff_id) const {
  return layers_.With([&](const auto& layers) -> std::optional<KnownLayer> {
    const auto found = layers.find({source, diff_id});
    if (found == layers.end()) return std::nullopt;
    return found->second;
  });
}

Status AddToMemo(const std::string& cache_directory, const std::vector<KnownLayer>& layers) {
  if (layers.empty()) return {};
  // Two writers at once may lose each other's entries, which costs a conversion and nothing else.
  std::vector<KnownLayer> memo = ReadMemo(cache_directory).value_or(std::vector<KnownLayer>());
  std::set<std::pair<Digest, std::string>> replaced;
  for (const KnownLayer& known : layers) replaced.emplace(known.layer.digest, known.place);
  std::erase_if(memo, [&](const KnownLayer& old) {
    return replaced.contains({old.layer.digest, old.place});
  });
  memo.insert(memo.end(), layers.begin(), layers.end());
  LAYERFS_CHECK_OK(MakeDirectories(cache_directory));
  return WriteFileAtomically(MemoPath(cache_directory), EncodeMemo(memo));
}

}  // namespace layerfs

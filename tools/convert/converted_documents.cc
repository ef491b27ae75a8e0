// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/converted_documents.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "index/layer_footer.h"

namespace layerfs {
namespace {

// A manifest of some forty layers. Larger ones cost more to carry than the round that they save;
// the sum is bounded because every reader of the index gets all of them.
constexpr size_t kMaxEmbeddedBytes = size_t{32} << 10;
constexpr size_t kMaxEmbeddedSum = size_t{256} << 10;

// Annotations that tell other lazy loaders where things lie in the old blob, or which artifact
// belongs to the old image.
constexpr std::array<std::string_view, 5> kStalePrefixes = {
    "containerd.io/snapshot/stargz/",     "io.containers.estargz.", "io.containers.zstd-chunked.",
    "io.github.containers.zstd-chunked.", "com.amazon.soci.",
};
constexpr std::array<const char*, 4> kOwnKeys = {kIndexPositionAnnotation, kIndexDigestAnnotation,
                                                 kSourceDigestAnnotation, kConverterAnnotation};

Annotations WithoutStale(Annotations annotations) {
  std::erase_if(annotations, [](const auto& annotation) {
    return std::ranges::any_of(kStalePrefixes, [&](std::string_view prefix) {
      return annotation.first.starts_with(prefix);
    });
  });
  return annotations;
}

const char* MediaTypeOf(LayerCompression compression) {
  return compression == LayerCompression::kGzip ? media_type::kOciLayerGzip
                                                : media_type::kOciLayerZstd;
}

RawDocument MakeDocument(const std::string& type, Bytes raw) {
  const Digest digest = Digest::Of(raw);
  return {std::move(raw), type, digest};
}

}  // namespace

Descriptor ConvertedLayerDescriptor(const ConvertedBlob& blob) {
  Descriptor layer;
  layer.media_type = MediaTypeOf(blob.compression);
  layer.digest = blob.digest;
  layer.size = blob.size;
  layer.annotations = EncodeIndexAnnotations(blob.index);
  layer.annotations[kSourceDigestAnnotation] = blob.source.ToString();
  layer.annotations[kConverterAnnotation] = blob.fingerprint;
  return layer;
}

Descriptor ReplaceLayer(const Descriptor& source, const Descriptor& converted) {
  Descriptor layer = source;
  layer.media_type = converted.media_type;
  layer.digest = converted.digest;
  layer.size = converted.size;
  layer.data.reset();
  layer.urls.clear();
  layer.annotations = WithoutStale(std::move(layer.annotations));
  for (const char* key : kOwnKeys) {
    layer.annotations.erase(key);
    const auto own = converted.annotations.find(key);
    if (own != converted.annotations.end()) layer.annotations.insert(*own);
  }
  return layer;
}

bool IsConvertedLayer(const Descriptor& layer) {
  return IsConvertedLayer(layer, LayerCompression::kZstd) ||
         IsConvertedLayer(layer, LayerCompression::kGzip);
}

bool IsConvertedLayer(const Descriptor& layer, LayerCompression compression) {
  const auto index = DecodeIndexAnnotations(layer.annotations, layer.size);
  return layer.media_type == MediaTypeOf(compression) && index.has_value() && index->has_value();
}

std::string FingerprintOf(const Descriptor& layer) {
  const auto made_by = layer.annotations.find(kConverterAnnotation);
  return made_by == layer.annotations.end() ? "" : made_by->second;
}

RawDocument ConvertedManifest(const Manifest& source, std::vector<Descriptor> layers) {
  Manifest manifest = source;
  manifest.media_type = media_type::kOciManifest;
  manifest.config.media_type = media_type::kOciConfig;
  manifest.layers = std::move(layers);
  manifest.annotations = WithoutStale(std::move(manifest.annotations));
  return MakeDocument(manifest.media_type, manifest.Encode());
}

RawDocument ConvertedIndex(const ImageIndex& source, const std::vector<ConvertedEntry>& entries) {
  ImageIndex index = source;
  index.media_type = media_type::kOciIndex;
  index.annotations = WithoutStale(std::move(index.annotations));
  index.manifests.clear();
  size_t embedded = 0;
  for (const ConvertedEntry& entry : entries) {
    Descriptor descriptor = entry.source;
    descriptor.media_type = entry.manifest.media_type;
    descriptor.digest = entry.manifest.digest;
    descriptor.size = entry.manifest.raw.size();
    descriptor.annotations = WithoutStale(std::move(descriptor.annotations));
    if (!descriptor.platform.has_value()) descriptor.platform = entry.platform;
    descriptor.urls.clear();
    descriptor.data.reset();
    if (descriptor.size <= kMaxEmbeddedBytes && embedded + descriptor.size <= kMaxEmbeddedSum) {
      descriptor.data = entry.manifest.raw;
      embedded += descriptor.size;
    }
    index.manifests.push_back(std::move(descriptor));
  }
  return MakeDocument(index.media_type, index.Encode());
}

}  // namespace layerfs

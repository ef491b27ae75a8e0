// SPDX-License-Identifier: Apache-2.0
// The documents of a converted image: descriptors of converted layers, manifests, image indexes.
// Thread-safe: functions of values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/chunk_ref.h"
#include "tools/convert/chunk_policy.h"

namespace layerfs {

// On the descriptor of a converted layer, beside the index's annotations: the blob that it was made
// from and the policy's fingerprint, so that it is found again instead of converted again.
inline constexpr char kSourceDigestAnnotation[] = "io.layerfs.source.digest";
inline constexpr char kConverterAnnotation[] = "io.layerfs.converter";

struct ConvertedBlob {
  Digest digest;
  uint64_t size = 0;
  ChunkRef index;
  Digest source;
  std::string fingerprint;
  LayerCompression compression = LayerCompression::kZstd;
};

// The descriptor of a converted layer by itself.
Descriptor ConvertedLayerDescriptor(const ConvertedBlob& blob);

// What the source's descriptor becomes in the converted manifest: the converted blob, with the
// source's own annotations but for those that describe the old blob's bytes; data and urls go.
Descriptor ReplaceLayer(const Descriptor& source, const Descriptor& converted);

// Whether the descriptor is that of a layer that layerfs can read lazily.
bool IsConvertedLayer(const Descriptor& layer);
// … and is compressed so.
bool IsConvertedLayer(const Descriptor& layer, LayerCompression compression);
// Its policy's fingerprint, if it is one; else empty.
std::string FingerprintOf(const Descriptor& layer);

// The manifest with its layers replaced, in OCI's media types; the config's bytes are the same.
RawDocument ConvertedManifest(const Manifest& source, std::vector<Descriptor> layers);

struct ConvertedEntry {
  Descriptor source;  // the entry in the source's index
  Platform platform;
  RawDocument manifest;
};
// The index with these entries instead of its own. Small manifests are embedded, so that who reads
// the index has them.
RawDocument ConvertedIndex(const ImageIndex& source, const std::vector<ConvertedEntry>& entries);

}  // namespace layerfs

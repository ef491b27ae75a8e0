// SPDX-License-Identifier: Apache-2.0
// KnownLayers: layers that were converted before, by source digest, diff ID and options: from the
// manifests that the destination has, and from a memo on the local disk. A hint: whoever uses it
// asks the destination whether the blob is there. An annotation can claim any source; so a layer is
// known by the diff ID as well that the config of its own image, which every tool checks, gives it.
// Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "fetch/reference.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/synchronized.h"

namespace layerfs {

struct KnownLayer {
  Descriptor layer;   // as ConvertedLayerDescriptor makes it
  Digest diff_id;     // of its tar, by the config beside it
  std::string place;  // where its blob was seen: see PlaceOf
};

// The registry's repository "registry.example.com/app" or "oci:DIR": where blobs live.
std::string PlaceOf(const ImageReference& reference);

class KnownLayers {
 public:
  // Those that were made with `fingerprint`.
  explicit KnownLayers(std::string fingerprint) : fingerprint_(std::move(fingerprint)) {}

  // Learns from all that `destination` names (an OCI layout: from all its images). What cannot be
  // read teaches nothing: the destination may not exist yet.
  void LearnFromImage(ImageReader& reader, const ImageReference& destination);
  // Learns from the memo in the cache directory; a missing or broken one teaches nothing.
  void LearnFromMemo(const std::string& cache_directory);

  // Ignores what is not a converted layer of this fingerprint.
  void Learn(const KnownLayer& known);
  std::optional<KnownLayer> Find(const Digest& source, const Digest& diff_id) const;

 private:
  void LearnFromManifest(ImageReader& reader, const Descriptor& descriptor,
                         const std::string& place, int depth);
  void LearnFromDocument(ImageReader& reader, const RawDocument& document, const std::string& place,
                         int depth);

  const std::string fingerprint_;
  using Key = std::pair<Digest, Digest>;  // source digest, diff ID
  Synchronized<std::map<Key, KnownLayer>> layers_;
};

// Adds layers to the memo in the cache directory, which is made where it is missing.
Status AddToMemo(const std::string& cache_directory, const std::vector<KnownLayer>& layers);

}  // namespace layerfs

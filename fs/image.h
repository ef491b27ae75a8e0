// SPDX-License-Identifier: Apache-2.0
// Image: a reference made ready to read: its manifest, its merged tree, and where its chunks are.
// Immutable after Load, but for what is fetched lazily behind its methods; thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "fetch/object_cache.h"
#include "fetch/reference.h"
#include "fetch/scheduler.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

// What an image is read through. All outlive it.
struct ImageContext {
  ImageStores& stores;
  Scheduler& scheduler;
  std::shared_ptr<ObjectCache> cache;
};

struct ImageOptions {
  std::optional<Platform> platform;  // of an image index; the host's by default
  std::chrono::milliseconds timeout{60'000};
  // A tag means what it meant when it was last resolved; goes with StoreOptions::offline.
  bool offline = false;
};

class Image {
 public:
  // Dependent rounds on a cold cache: the tag's document; where that is an image index whose entry
  // does not embed it, the manifest; then all layers' indexes at once. A warm cache needs the first
  // only, and a pinned digest none. kUnsupported, naming the layer and the remedy, where a layer
  // is not converted.
  static Result<std::shared_ptr<Image>> Load(const ImageReference& reference,
                                             const ImageContext& context,
                                             const ImageOptions& options);
  ~Image();

  const ImageReference& reference() const;
  const Manifest& manifest() const;
  const Digest& manifest_digest() const;
  const Index& tree() const;
  // Fetched at first use, then cached.
  Result<ImageConfig> Config();
  // Where the chunks of a layer of the tree are read from.
  std::shared_ptr<const SourceBlob> layer_blob(LayerNumber layer) const;
  // Where a layer's index lies in its blob; by digest and size it is an object of the cache.
  const ChunkRef& layer_index(LayerNumber layer) const;
  // The layer's own index, whiteouts and all.
  Result<Index> LoadLayerIndex(LayerNumber layer);

 private:
  struct State;
  explicit Image(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Image: a reference made ready to read: its manifest, its merged tree, and where its chunks are.
// Immutable after Load, but for what is fetched lazily behind its methods; thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "fetch/object_cache.h"
#include "fetch/reference.h"
#include "fetch/scheduler.h"
#include "fs/startup_pack.h"
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
  // Whether a startup pack in the image index is used.
  bool startup = true;
  // Whether one is looked for among the image's referrers where the index has none. That costs a
  // round, and is a choice of whom to believe (index/PACK.md, "Trust").
  bool referrers = false;
  // The config will be asked for: it is fetched along with what else it takes to open the image.
  bool config = false;
  // Is told how far it is, for those who measure: "resolved", "opened", then, as the startup pack
  // comes in, "pages" with the bytes that are there, and "through". From any thread.
  std::function<void(std::string_view event, uint64_t bytes)> on_event;
};

struct ImageParts {
  Manifest manifest;
  Result<ImageConfig> config;
  std::vector<Result<Index>> indexes;  // by layer
};

class Image {
 public:
  // Dependent rounds on a cold cache: the tag's document; where that is an image index whose entry
  // does not embed it, the manifest; then the startup pack, or all layers' indexes at once. A warm
  // cache needs the first only, and a pinned digest none. kUnsupported, naming the layer and the
  // remedy, where a layer is not converted.
  static Result<std::shared_ptr<Image>> Load(const ImageReference& reference,
                                             const ImageContext& context,
                                             const ImageOptions& options);
  // What there is of an image that Load fails for, each part or why it is not to be had. An error
  // where it is not known which parts there are.
  static Result<ImageParts> LoadParts(const ImageReference& reference, const ImageContext& context,
                                      const ImageOptions& options);
  ~Image();

  const ImageReference& reference() const;
  const Manifest& manifest() const;
  const Digest& manifest_digest() const;
  const Index& tree() const;
  // Whose word partial content is kept under (ObjectId::scope): the manifest's, whose layers the
  // tree was merged from, or the startup pack's.
  const Digest& scope() const;
  // The pages that start-up reads; null where the image comes without.
  std::shared_ptr<StartupPack> startup() const;
  // Why it was opened without its startup pack, or why nobody knows whether it has one, where that
  // was to be used.
  const std::optional<Error>& startup_error() const;
  // Fetched at first use, then cached.
  Result<ImageConfig> Config();
  Result<Bytes> RawConfig();
  // The manifest, byte for byte.
  const Bytes& raw_manifest() const;
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

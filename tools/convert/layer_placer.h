// SPDX-License-Identifier: Apache-2.0
// LayerPlacer: sees to it that the destination has a layer's converted blob: reused, mounted from
// another repository, copied, or converted and written.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "fetch/image_store.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "tools/convert/compression_pool.h"
#include "tools/convert/convert_image.h"
#include "tools/convert/known_layers.h"
#include "tools/convert/layer_converter.h"
#include "tools/convert/stored_index.h"

namespace layerfs {

struct LayerTask {
  size_t row = 0;
  Descriptor source;
  Digest diff_id;  // by the config
  // The index of a converted layer is known to be its own: it is mounted.
  bool index_verified = false;
};

struct PlacedLayer {
  Descriptor layer;  // as ConvertedLayerDescriptor makes it, or the source's own when it is copied
  uint64_t tar_size = 0;
  LayerOutcome outcome = LayerOutcome::kConverted;
  bool links_below = false;  // see ConvertedLayer
};

// Whether a layer of the source is copied: it is a converted one, and nobody wants it otherwise.
bool StaysAsItIs(const Descriptor& layer, const ConvertOptions& options);

class LayerPlacer {
 public:
  // All of it outlives the placer.
  struct Parts {
    const ConvertOptions& options;
    ImageReader& reader;
    ImageWriter& writer;
    ImageReader& written;  // reads what the writer has written
    const KnownLayers& known;
    CompressionPool& pool;
    ConvertProgress& progress;
    // Becomes true when somebody else has failed: then all reading ends with kCancelled.
    const std::atomic<bool>& cancelled;
    uint64_t in_flight_bytes = 0;  // a layer's; see LayerConversion
  };
  explicit LayerPlacer(const Parts& parts) : parts_(parts) {}

  // Errors name the layer.
  Result<PlacedLayer> Place(const LayerTask& task) const;
  // A blob that is already in memory (a config).
  Status PlaceBytes(const Digest& digest, ByteSpan bytes) const;

 private:
  using OnBytes = std::function<void(uint64_t)>;  // how many, since the stage began

  Result<PlacedLayer> Dispatch(const LayerTask& task) const;
  // Of a layer that says it is a converted one, whose index shall say so too. What the destination
  // has is judged there. Nothing where the index cannot be had or is not this layer's: then the tar
  // is converted, whatever the annotations say.
  std::optional<PlacedLayer> Verified(const LayerTask& task, PlacedLayer placed) const;
  // `check`: what else the index has to stand.
  std::optional<PlacedLayer> Verified(const LayerTask& task, PlacedLayer placed,
                                      Result<StoredIndex> stored,
                                      const std::function<Status(const Index&)>& check) const;
  Result<PlacedLayer> Copy(const LayerTask& task) const;
  Result<PlacedLayer> Convert(const LayerTask& task) const;
  // A layer as ConvertLayer makes it. Layers with long windows (zstd --long=27: 128 MiB that the
  // decoder holds) come one at a time, the others side by side.
  Result<ConvertedLayer> Converted(const LayerTask& task) const;
  bool Cancelled() const;
  Result<bool> IsThere(const Digest& digest, uint64_t size, const std::string& place) const;
  Status Read(const LayerTask& task, const std::function<Status(ByteSpan)>& consume) const;
  Status Write(const LayerTask& task, const Digest& digest, uint64_t size, int fd) const;
  OnBytes Reporter(const LayerTask& task, LayerStage stage, uint64_t total) const;

  const Parts parts_;
  mutable std::mutex long_window_;
  mutable std::mutex large_index_;
};

}  // namespace layerfs

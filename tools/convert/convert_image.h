// SPDX-License-Identifier: Apache-2.0
// ConvertImage: an image → the same image with seekable, indexed layers. The tars of its layers,
// its configs and so its image IDs stay as they are; only the layers' compression, the manifests
// and the index change. Deterministic: the same image and options give the same bytes, whatever the
// number of threads.
// Thread-safe: calls do not share anything but the stores.
//
// Order of writing: all layers, then the configs, then the manifests, then the tag. Whatever fails
// before the last step leaves nothing visible at the destination.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "fetch/reference.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "tools/convert/chunk_policy.h"

namespace layerfs {

struct ConvertOptions {
  ImageReference source;
  ImageReference destination;
  // Which images of an image index; empty: all of them. One that no image satisfies is kNotFound.
  std::vector<Platform> platforms;
  ChunkPolicy policy;
  // The policy is asked for: what is converted otherwise already is converted anew.
  bool policy_is_asked_for = false;
  int threads = 0;     // 0: one a processor
  bool force = false;  // converts and writes again what is converted, or there, already
  // Called instead of setting the destination's tag, when all that the tag is to name is there, the
  // root's manifest by its digest: sets the tag, and says to what. Empty: the tag names the root.
  std::function<Result<Digest>(const Digest& root)> set_tag;
  // Once it is true the conversion takes back what it has written and ends with kCancelled, unless
  // the image is there already. Null: never.
  const std::atomic<bool>* stopped = nullptr;
  // Where the memo of converted layers lies (and is kept); empty: none.
  std::string cache_directory;
  // Where layers wait, unnamed, until they are written; empty: $TMPDIR, else /var/tmp.
  std::string spool_directory;
};

enum class LayerOutcome {
  kConverted,
  kReused,  // the destination has it already, converted with the same options
  kCopied,  // the source's layer is a converted one itself
};

// One distinct layer of the source; two images or layer lists that share it have one row.
struct LayerReport {
  Digest source;
  uint64_t source_size = 0;
  Digest converted;
  uint64_t converted_size = 0;
  uint64_t tar_size = 0;  // 0 where it was not read
  LayerOutcome outcome = LayerOutcome::kConverted;
  double seconds = 0;
};

struct ConvertReport {
  std::vector<LayerReport> layers;  // in the order of the manifests
  std::vector<Platform> platforms;  // that were converted
  Digest root;                      // of the document that the tag names now
  std::string root_media_type;
  std::vector<std::string> notes;  // what a person should know, a sentence each
  double seconds = 0;
};

enum class LayerStage { kWaiting, kConverting, kWriting, kDone };

// Where one layer stands. `layer` is its row in ConvertReport::layers.
struct LayerProgress {
  size_t layer = 0;
  Digest source;
  LayerStage stage = LayerStage::kWaiting;
  uint64_t done_bytes = 0;   // of the source read, or of the converted blob written, by the stage
  uint64_t total_bytes = 0;  // likewise
};

// Called from several threads at once: implementations are thread-safe, and do not block.
class ConvertProgress {
 public:
  virtual ~ConvertProgress() = default;
  // Once, when it is known what there is to do.
  virtual void OnLayers(size_t layer_count) = 0;
  virtual void OnProgress(const LayerProgress& progress) = 0;
};

Result<ConvertReport> ConvertImage(const ConvertOptions& options, ImageStores& stores,
                                   ConvertProgress& progress);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// CommitImage: a container layer → an image: the one below it with a layer more, converted as it is
// written, in a registry or a layout. What the destination has already is neither read nor written.
// One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/reference.h"
#include "fs/container_layer.h"
#include "fs/file_reader.h"
#include "fs/image.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "tools/convert/chunk_policy.h"

namespace layerfs {

struct CommitOptions {
  ImageReference destination;
  std::string message;
  std::string author;
  std::vector<std::string> changes;  // Dockerfile instructions
  int64_t created = 0;               // seconds since 1970
  ChunkPolicy policy;
};

// What lies below the layer; both null for `scratch`.
struct CommitBase {
  std::shared_ptr<Image> image;
  FileReader* reader = nullptr;
};

struct CommitReport {
  Digest manifest;
  uint64_t layer_size = 0;  // of the new blob; 0 where the layer changes nothing
  size_t entries = 0;
  std::vector<std::string> notes;
};

// Deterministic: the same layer, base and options give the same image.
Result<CommitReport> CommitImage(const ContainerLayer& layer, const CommitBase& base,
                                 const CommitOptions& options, ImageStores& stores);

}  // namespace layerfs

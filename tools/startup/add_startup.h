// SPDX-License-Identifier: Apache-2.0
// AddStartup: gives a converted image a startup pack: in its image index, or as a referrer of an
// image that must not change.
// One thread at a time.
#pragma once

#include <optional>
#include <vector>

#include "fs/image.h"
#include "tools/startup/pack_builder.h"

namespace layerfs {

struct AddStartupOptions {
  ImageReference image;
  // The tag that is to name the image with its pack; nothing: the one that `image` has.
  std::optional<ImageReference> tag;
  ImageOptions load;  // which image of an image index
  std::vector<Trace> traces;
  PackOptions pack;
  // As an OCI 1.1 referrer; the image, its index and its tag stay as they are.
  bool as_referrer = false;
};

struct AddStartupReport {
  Digest root;      // of what the image's reference names now
  Digest artifact;  // the artifact's manifest
  uint64_t pack_bytes = 0;
  uint64_t page_bytes = 0;  // of the pages, decompressed
  uint64_t stored_page_bytes = 0;
  uint64_t stored_tree_bytes = 0;
  uint64_t runs = 0;
  uint64_t missing_paths = 0;
  double seconds = 0;
};

// The blob first, then the artifact's manifest, then the image index: a failure leaves the image as
// it was.
Result<AddStartupReport> AddStartup(const AddStartupOptions& options, const ImageContext& context);

}  // namespace layerfs

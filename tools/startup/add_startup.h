// SPDX-License-Identifier: Apache-2.0
// AddStartup: gives a converted image a startup pack: in its image index, or as a referrer of an
// image that must not change.
// One thread at a time.
#pragma once

#include <cstdio>
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
  // As an OCI 1.1 referrer; the image, its index and its tag stay as they are. The time is that of
  // its making, unless there is a newer one: it becomes the newest, which is the one that counts.
  bool as_referrer = false;
  int64_t created_seconds = 0;
};

struct AddStartupReport {
  Digest root;      // of what the image's reference names now
  Digest artifact;  // the artifact's manifest
  // Of a referrer: the one that has counted before, and whether that has the same pack, so that
  // nothing was written.
  std::optional<Digest> superseded;
  bool was_there = false;
  uint64_t pack_bytes = 0;
  uint64_t page_bytes = 0;  // of the pages, decompressed
  uint64_t gap_bytes = 0;   // of these: what the traces do not read
  uint64_t stored_page_bytes = 0;
  uint64_t stored_tree_bytes = 0;
  uint64_t runs = 0;
  uint64_t missing_paths = 0;
  double seconds = 0;
};

// The blob first, then the artifact's manifest, then the image index: a failure leaves the image as
// it was.
Result<AddStartupReport> AddStartup(const AddStartupOptions& options, const ImageContext& context);

// The last step of it: writes what was built for `image`, as `options` say.
Result<AddStartupReport> PublishStartup(Image& image, const BuiltPack& built,
                                        const AddStartupOptions& options,
                                        const ImageContext& context);

// Tells a person where the traces are of another image, as far as they are.
void WarnOfMissingPaths(const AddStartupReport& report, std::FILE* to);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ReadSource: the documents of the image that is to be converted, read and checked against each
// other before any layer is touched.
// Values; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

struct SourceImage {
  Descriptor entry;  // in the image index; only its digest is set where there is none
  Manifest manifest;
  Bytes config;       // as it is, byte for byte
  Platform platform;  // as its entry says, by which it is chosen; its config where it has none
  std::vector<Digest> diff_ids;  // one a layer
};

struct SourceImages {
  std::optional<ImageIndex> index;  // where the reference names one; with all its entries
  std::vector<SourceImage> images;  // those that are converted, in the index's order
  // About entries that are left out, and such as do not say what their images do.
  std::vector<std::string> notes;
};

// An image's config, of at most 8 MiB.
Result<Bytes> ReadConfig(ImageReader& reader, const Descriptor& descriptor);

// `wanted`: see ConvertOptions::platforms. Entries of an index that are no images (attestations,
// signatures, other artifacts) speak about the images as they were, by digest: they do not hold for
// the converted ones and are left out with a note.
Result<SourceImages> ReadSource(ImageReader& reader, const std::vector<Platform>& wanted);

}  // namespace layerfs

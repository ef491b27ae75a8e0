// SPDX-License-Identifier: Apache-2.0
// ImageSource: an image's merged tree as a lower source.
// Thread-safe.
#pragma once

#include <memory>

#include "fs/file_reader.h"
#include "fs/image.h"
#include "fs/lower_source.h"

namespace layerfs {

// `reader` outlives the source.
std::unique_ptr<LowerSource> MakeImageSource(std::shared_ptr<Image> image, FileReader& reader);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// CheckMerge: whether the layers of a converted image, which are at the destination already, merge
// into a tree. A hard link whose target no layer has shows only then, and must show before there
// is an image that cannot be mounted.
// Thread-safe.
#pragma once

#include <vector>

#include "fetch/image_store.h"
#include "index/base/error.h"

namespace layerfs {

// `layers`, lowest first, are converted ones: their annotations say where their indexes lie.
// Errors name the layer and both paths.
Status CheckMerge(ImageReader& destination, const std::vector<Descriptor>& layers);

}  // namespace layerfs

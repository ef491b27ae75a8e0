// SPDX-License-Identifier: Apache-2.0
// An image of a registry that may not be asked: everything that is not in the cache is an error, at
// once and without a retry.
// Thread-safe.
#pragma once

#include <memory>

#include "fetch/image_store.h"

namespace layerfs {

std::shared_ptr<ImageReader> MakeOfflineReader(const ImageReference& reference);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// An image in a `docker save` archive: manifest.json, a config, layers as tars, in the old layout
// or in that of newer dockers, which is an OCI layout as well. It is shown as Docker schema 2
// documents, the manifest made up from what there is.
// Immutable after Open; thread-safe.
#pragma once

#include <memory>

#include "fetch/image_store.h"

namespace layerfs {

// Opening reads the archive's headers, and the whole of layers that are compressed inside.
Result<std::shared_ptr<ImageReader>> OpenDockerArchive(const ImageReference& reference);

}  // namespace layerfs

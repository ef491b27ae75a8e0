// SPDX-License-Identifier: Apache-2.0
// An image in a registry, read and written.
// Thread-safe.
#pragma once

#include <memory>

#include "fetch/image_store.h"
#include "fetch/registry_context.h"

namespace layerfs {

// An error where the configuration of mirrors forbids the registry or cannot be read.
Result<std::shared_ptr<ImageReader>> MakeRegistryReader(std::shared_ptr<RegistryContext> context,
                                                        const ImageReference& reference);
Result<std::shared_ptr<ImageWriter>> MakeRegistryWriter(
    const std::shared_ptr<RegistryContext>& context, const ImageReference& reference);

}  // namespace layerfs

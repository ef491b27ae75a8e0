// SPDX-License-Identifier: Apache-2.0
// An image in an OCI layout, read and written.
// Thread-safe.
#pragma once

#include <memory>

#include "fetch/image_store.h"
#include "fetch/oci_layout.h"

namespace layerfs {

std::shared_ptr<ImageReader> MakeLayoutReader(const ImageReference& reference);
// Without WriteRoot, what it has written and no image of the layout names goes when it goes.
std::shared_ptr<ImageWriter> MakeLayoutWriter(const ImageReference& reference);

// Reads [offset, offset + descriptor.size) of a file as the descriptor's blob: in pieces, size and
// digest verified. What stands behind ReadBlob of layouts and archives.
Status ReadBlobFromFile(int fd, uint64_t offset, const Descriptor& descriptor,
                        const std::function<Status(ByteSpan)>& on_data);

}  // namespace layerfs

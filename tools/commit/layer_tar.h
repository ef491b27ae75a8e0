// SPDX-License-Identifier: Apache-2.0
// WriteLayerTar: what a container layer changes → the tar of an image layer, with the bytes of each
// file whole: of partial files and of files that only moved, what is missing is fetched.
// One thread at a time.
#pragma once

#include "fs/container_layer.h"
#include "fs/file_reader.h"
#include "index/base/error.h"
#include "tools/commit/layer_changes.h"
#include "tools/commit/pax_writer.h"

namespace layerfs {

// `reader`: the image's; null for a layer on nothing.
Status WriteLayerTar(const LayerChanges& changes, const ContainerLayer& layer, FileReader* reader,
                     const PaxWriter::Sink& sink);

}  // namespace layerfs

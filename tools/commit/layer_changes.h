// SPDX-License-Identifier: Apache-2.0
// ReadLayerChanges: a container layer and the tree below it → what it changes. Renamed directories
// become their files; names that share a copied-up inode are all there, whether or not they were
// touched.
// One thread at a time.
#pragma once

#include <string>
#include <vector>

#include "fs/container_layer.h"
#include "index/base/error.h"
#include "index/index.h"
#include "tools/commit/layer_entry.h"

namespace layerfs {

struct LayerChanges {
  std::vector<LayerEntry> entries;  // by path; a directory before what is in it
  std::vector<std::string> notes;   // what a tar cannot hold, a sentence each
};

// `tree`: the image's, or null for a layer on nothing.
Result<LayerChanges> ReadLayerChanges(const ContainerLayer& layer, const Index* tree);

}  // namespace layerfs

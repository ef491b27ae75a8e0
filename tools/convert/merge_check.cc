// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/merge_check.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "index/merge.h"
#include "tools/convert/stored_index.h"

namespace layerfs {

Status CheckMerge(ImageReader& destination, const std::vector<Descriptor>& layers) {
  const std::shared_ptr<BlobSource> source = destination.blob_source();
  if (source == nullptr) return {};
  std::vector<Result<StoredIndex>> fetched = FetchIndexes(*source, layers);
  TreeMerger merger;
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string name = "layer " + std::to_string(i + 1) + " of " +
                             std::to_string(layers.size()) + " (" + layers[i].digest.ToString() +
                             ")";
    LAYERFS_TRY_IN(stored, std::move(fetched[i]), name);
    LAYERFS_TRY_IN(index, OpenIndex(stored), name);
    LAYERFS_CHECK_OK(merger.Apply(index, {layers[i].digest, layers[i].size}));
  }
  return {};
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/run/sorted_names.h"

#include <fcntl.h>

#include <algorithm>

#include "fs/container_layer.h"
#include "index/base/file.h"

namespace layerfs {

Result<std::vector<std::string>> SortedNames(int directory_fd) {
  LAYERFS_TRY(directory, OpenFileAt(directory_fd, ".", O_RDONLY | O_DIRECTORY));
  LAYERFS_TRY(names, NamesInDirectory(std::move(directory)));
  std::ranges::sort(names);
  return names;
}

}  // namespace layerfs

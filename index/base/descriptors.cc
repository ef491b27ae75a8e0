// SPDX-License-Identifier: Apache-2.0
#include "index/base/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

namespace layerfs {

size_t DescriptorShare(size_t parts, size_t least, size_t most) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return most;
  return std::clamp<size_t>(limit.rlim_cur / parts, least, most);
}

}  // namespace layerfs

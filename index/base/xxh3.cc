// SPDX-License-Identifier: Apache-2.0
#include "index/base/xxh3.h"

#include <xxhash.h>

namespace layerfs {

uint64_t Xxh3(ByteSpan data) { return XXH3_64bits(data.data(), data.size()); }

}  // namespace layerfs

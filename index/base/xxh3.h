// SPDX-License-Identifier: Apache-2.0
// XXH3-64, the checksum of the index's sections (against accidents, not against malice: digests
// are for that) and the hash that decides where small files are grouped. The only door to xxHash.
// Thread-safe.
#pragma once

#include "index/base/bytes.h"

namespace layerfs {

// XXH3_64bits with seed 0 (xxHash, doc/xxhash_spec.md).
uint64_t Xxh3(ByteSpan data);

}  // namespace layerfs

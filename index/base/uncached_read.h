// SPDX-License-Identifier: Apache-2.0
// Reading a file without leaving a copy of it in the page cache, for bytes that somebody else is
// about to cache.
// Thread-safe.
#pragma once

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

// As ReadFullAt (file.h), but what was not in the page cache is not there afterwards either
// (RWF_DONTCACHE, Linux 6.14), where the file system can; elsewhere the same as ReadFullAt.
Status ReadFullAtUncached(int fd, uint64_t offset, MutableByteSpan out);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/uncached_read.h"

#include <sys/uio.h>

#include <cerrno>

#include "index/base/file.h"

namespace layerfs {
namespace {

// RWF_DONTCACHE of linux/fs.h; Debian 12's header is older.
constexpr int kDontCache = 0x80;

}  // namespace

Status ReadFullAtUncached(int fd, uint64_t offset, MutableByteSpan out) {
  while (!out.empty()) {
    const iovec target{out.data(), out.size()};
    const ssize_t got = ::preadv2(fd, &target, 1, static_cast<off_t>(offset), kDontCache);
    // The end of the file and every error are told by the plain read.
    if (got <= 0) return ReadFullAt(fd, offset, out);
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// For tests of what is built on TarParser: a whole tar in memory → its entries, fed in pieces of a
// given size.
// Thread-safe.
#pragma once

#include <algorithm>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/tar_parser.h"

namespace layerfs {

inline Result<std::vector<TarEntry>> ParseTar(ByteSpan tar, size_t piece = SIZE_MAX,
                                              TarLimits limits = {}) {
  std::vector<TarEntry> entries;
  TarParser parser(
      [&](TarEntry&& entry) {
        entries.push_back(std::move(entry));
        return Status();
      },
      limits);
  while (!tar.empty()) {
    const size_t size = std::min(piece, tar.size());
    LAYERFS_CHECK_OK(parser.Feed(tar.first(size)));
    tar = tar.subspan(size);
  }
  LAYERFS_CHECK_OK(parser.Finish());
  return entries;
}

}  // namespace layerfs

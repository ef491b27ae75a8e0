// SPDX-License-Identifier: Apache-2.0
// ChunkPolicy: how a layer's tar is cut and compressed: everything that decides the bytes of a
// converted layer besides its tar.
// A value.
#pragma once

#include <cstdint>
#include <string>

#include "index/base/error.h"

namespace layerfs {

struct ChunkPolicy {
  int level = 3;  // of zstd
  // Large files are cut every so many bytes; a multiple of 4 KiB.
  uint32_t chunk_size = uint32_t{256} << 10;
  // Files of at least so many bytes have chunks of their own.
  uint32_t own_chunk_size = uint32_t{64} << 10;
  // A group of small files ends where the hash of a path says so once it has group_min bytes; on
  // average so that groups have about group_average; before the entry that would take it past
  // group_max.
  uint32_t group_min = uint32_t{64} << 10;
  uint32_t group_average = uint32_t{128} << 10;
  uint32_t group_max = uint32_t{256} << 10;

  // kInvalidArgument naming the option and its bounds.
  Status Validate() const;
  // All of it in a line, with the version of the converter: two layers of one tar are the same
  // bytes if their fingerprints are. "layerfs 1; zstd 1.5.4 level 3; chunk 256K; …".
  std::string Fingerprint() const;
  bool operator==(const ChunkPolicy&) const = default;
};

}  // namespace layerfs

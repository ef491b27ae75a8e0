// SPDX-License-Identifier: Apache-2.0
// ChunkPolicy: how a layer's tar is cut and compressed: everything that decides the bytes of a
// converted layer besides its tar. The defaults are measured; see bench/convert_bench.cc.
// A value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "index/base/error.h"

namespace layerfs {

// How the tar's chunks are compressed: what tools that read the whole layer must know. gzip is for
// those that do not read zstd (umoci before 0.5, Docker before 23): larger, and slower to read.
enum class LayerCompression { kZstd, kGzip };

// Bounds of the sizes below. RFC 8878 asks decoders for windows of 8 MiB at least; a frame's window
// is its content here.
inline constexpr uint32_t kMinPolicyBytes = 4096;
inline constexpr uint32_t kMaxPolicyBytes = uint32_t{8} << 20;

struct ChunkPolicy {
  LayerCompression compression = LayerCompression::kZstd;
  int level = 3;  // of the compression
  // Large files are cut every so many bytes; a multiple of 4 KiB.
  uint32_t chunk_size = uint32_t{256} << 10;
  // Files of at least so many bytes have chunks of their own.
  uint32_t own_chunk_size = uint32_t{384} << 10;
  // Smaller files share chunks: a group of entries ends, once it has group_min bytes, where a new
  // directory begins whose hash says so; once it has group_target, before any entry whose hash says
  // so; and always before the entry that would take it past group_max.
  uint32_t group_min = uint32_t{1024} << 10;
  uint32_t group_target = uint32_t{1280} << 10;
  uint32_t group_max = uint32_t{1792} << 10;

  // kInvalidArgument naming the option and its bounds.
  Status Validate() const;
  // All of it in a line, with the versions of the converter and of libzstd: two layers of one tar
  // are the same bytes if their fingerprints are.
  std::string Fingerprint() const;
  // Whether a layer with that fingerprint was made with this policy, by whatever versions.
  bool Made(std::string_view fingerprint) const;
  bool operator==(const ChunkPolicy&) const = default;

 private:
  std::string Settings() const;
};

}  // namespace layerfs

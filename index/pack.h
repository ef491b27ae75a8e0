// SPDX-License-Identifier: Apache-2.0
// The startup pack's bytes: its head, its runs, its segments. PACK.md is normative; the stream of
// pages between them is zstd's.
// Values; thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

inline constexpr uint64_t kPackPageBytes = 4096;
inline constexpr uint32_t kMaxPackPages = uint32_t{1} << 18;
inline constexpr uint32_t kMaxPackRuns = uint32_t{1} << 20;
inline constexpr uint32_t kMaxPackParts = uint32_t{1} << 16;
inline constexpr uint64_t kMaxPackHeadBytes = 112 + uint64_t{48} * kMaxPackParts;

enum class PackPartKind : uint32_t {
  kTree = 1,
  kConfig = 2,
  kRuns = 3,
  kPages = 4,
  kSegments = 5,
};

struct PackPart {
  PackPartKind kind = PackPartKind::kTree;
  uint32_t stored_size = 0;
  uint32_t size = 0;  // decompressed
  Digest digest;      // of the stored bytes
  bool operator==(const PackPart&) const = default;
};

struct PackHead {
  Digest image;  // the image manifest's
  Digest pages_digest;
  uint32_t page_count = 0;
  uint32_t run_count = 0;       // with pages
  uint32_t bare_run_count = 0;  // without
  std::vector<PackPart> parts;

  // kCorrupt, or kUnsupported naming an unknown version or feature.
  static Result<PackHead> Decode(ByteSpan bytes);
  Bytes Encode() const;
  uint64_t EncodedSize() const;
  // Of the whole blob, head and all.
  uint64_t BlobSize() const;
};

// Pages [first_page, first_page + pages) of a regular file.
struct PackRun {
  InodeNumber inode = kNoInode;
  uint32_t first_page = 0;
  uint32_t pages = 0;
  bool operator==(const PackRun&) const = default;
};

// All runs, those with pages first.
Bytes EncodePackRuns(std::span<const PackRun> runs);
// Checks them against the head and the tree: each names pages of a regular file, and no page occurs
// twice.
Result<std::vector<PackRun>> DecodePackRuns(ByteSpan bytes, const PackHead& head,
                                            const Index& tree);

// A segment of the chunk table with its decompressed bytes.
struct PackSegment {
  uint32_t number = 0;
  ByteSpan bytes;
};
Bytes EncodePackSegments(std::span<const PackSegment> segments);
// The bytes are views into `bytes`, and have the digests that the tree says.
Result<std::vector<PackSegment>> DecodePackSegments(ByteSpan bytes, const Index& tree);

}  // namespace layerfs

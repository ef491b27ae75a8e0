// SPDX-License-Identifier: Apache-2.0
// TarHeader: the 512-byte block in front of a tar entry, as V7, ustar, star and GNU tar have it.
// Fields are decoded when asked for, so that a field which a PAX record replaces may be anything.
// Facts: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
// Immutable; refers to the block, which must outlive it. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

inline constexpr size_t kTarBlockSize = 512;

// Sizes and offsets beyond this are refused: off_t is signed.
inline constexpr uint64_t kMaxTarOffset = INT64_MAX;

// uid_t and gid_t -1 means "no change" to chown(2), so nothing can belong to it.
inline constexpr uint64_t kMaxTarId = UINT32_MAX - 1;

bool IsZeroBlock(ByteSpan block);

// A numeric field: octal digits between spaces and NULs (blank is 0), or GNU's base-256 (first bit
// set, the rest two's complement). Nothing where it is neither or does not fit.
std::optional<int64_t> ParseTarNumber(ByteSpan field);

class TarHeader {
 public:
  // `block` is kTarBlockSize bytes; a checksum that does not match (as unsigned or, like some old
  // tars, as signed bytes) is kCorrupt.
  static Result<TarHeader> Parse(ByteSpan block);

  char typeflag() const { return static_cast<char>(block_[156]); }
  bool is_gnu() const;
  std::string Path() const;  // prefix and name
  std::string LinkTarget() const;

  Result<uint64_t> Size() const;
  Result<uint32_t> Permissions() const;
  Result<uint32_t> Uid() const;
  Result<uint32_t> Gid() const;
  Result<Timestamp> Mtime() const;
  Result<dev_t> Device() const;

  // Old GNU sparse files (typeflag 'S').
  ByteSpan sparse_map() const { return block_.subspan(386, 96); }  // 4 slots of 24 bytes
  bool has_sparse_extension() const { return block_[482] != 0; }
  Result<uint64_t> SparseRealSize() const;

 private:
  explicit TarHeader(ByteSpan block) : block_(block) {}
  std::string Prefix() const;
  Result<uint64_t> Unsigned(size_t offset, size_t size, std::string_view name,
                            uint64_t limit) const;

  ByteSpan block_;
};

}  // namespace layerfs

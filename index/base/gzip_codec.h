// SPDX-License-Identifier: Apache-2.0
// gzip members (RFC 1952) of bytes that are there as a whole. The only door to libdeflate. (A
// stream that arrives in pieces is inflate.h's.) Bounds come from the caller, never from a member.
// Contexts: one thread at a time; make one per thread and reuse it.
#pragma once

#include <memory>
#include <string>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

inline constexpr int kMinGzipLevel = 1;
inline constexpr int kMaxGzipLevel = 12;

// The version of libdeflate that was built against: another may compress to other bytes.
std::string DeflateVersion();

class GzipCompressor {
 public:
  // `level` as libdeflate has it, kMinGzipLevel to kMaxGzipLevel; 6 is about gzip's own default.
  explicit GzipCompressor(int level);
  ~GzipCompressor();
  GzipCompressor(GzipCompressor&&) noexcept;
  GzipCompressor& operator=(GzipCompressor&&) noexcept;

  // Writes one member, without name or time, to the front of `room`, which has at least
  // Bound(data.size()) bytes, and returns its size. Deterministic for one version of libdeflate.
  Result<size_t> CompressInto(ByteSpan data, MutableByteSpan room);
  static size_t Bound(size_t data_size);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

class GzipDecompressor {
 public:
  GzipDecompressor();
  ~GzipDecompressor();
  GzipDecompressor(GzipDecompressor&&) noexcept;
  GzipDecompressor& operator=(GzipDecompressor&&) noexcept;

  // Decompresses `members` (one or several, whole) into exactly `out`; more, less, trailing bytes
  // or a broken member are kCorrupt.
  Status Decompress(ByteSpan members, MutableByteSpan out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace layerfs

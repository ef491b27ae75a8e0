// SPDX-License-Identifier: Apache-2.0
// zstd, whole frames and streams. The only door to libzstd. Bounds always come from the caller
// (the index, a limit), never from a frame alone.
// Contexts: one thread at a time; make one per thread and reuse it.
#pragma once

#include <memory>
#include <string>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

// A skippable frame (RFC 8878, section 3.1.2): magic, LE32 size, payload that decoders skip.
inline constexpr uint32_t kZstdFrameMagic = 0xFD2FB528;
inline constexpr uint32_t kZstdSkippableMagicFirst = 0x184D2A50;  // … to 0x184D2A5F
inline constexpr size_t kZstdSkippableHeaderSize = 8;
// The window that we ever accept from a stream: what the zstd command accepts without --long.
inline constexpr int kZstdMaxWindowLog = 27;

// Of the libzstd that runs: "1.5.4". Another version may compress to other bytes.
std::string ZstdVersion();

class ZstdCompressor {
 public:
  // `level` as the zstd command has it, 1 to 19. The frame has its content size and no checksum
  // (the index has SHA-256). Deterministic for one version of libzstd.
  explicit ZstdCompressor(int level);
  ~ZstdCompressor();
  ZstdCompressor(ZstdCompressor&&) noexcept;
  ZstdCompressor& operator=(ZstdCompressor&&) noexcept;

  // Replaces `out` with one frame that holds `data`.
  Status Compress(ByteSpan data, Bytes& out);
  // Writes the frame to the front of `room`, which has at least Bound(data.size()) bytes, and
  // returns its size: nothing is cleared or moved.
  Result<size_t> CompressInto(ByteSpan data, MutableByteSpan room);
  static size_t Bound(size_t data_size);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// One frame over data that come in pieces, with a long window (as the zstd command's --long), so
// that far repetitions are found. Deterministic for one version of libzstd.
class ZstdStreamCompressor {
 public:
  // `size` is that of all pieces together; the frame has it.
  ZstdStreamCompressor(int level, uint64_t size);
  ~ZstdStreamCompressor();
  ZstdStreamCompressor(ZstdStreamCompressor&&) noexcept;
  ZstdStreamCompressor& operator=(ZstdStreamCompressor&&) noexcept;

  // Appends to `out` what it takes to decode `piece`, given what came before. The frame ends with
  // the last piece.
  Status Compress(ByteSpan piece, bool last, Bytes& out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

class ZstdDecompressor {
 public:
  ZstdDecompressor();
  ~ZstdDecompressor();
  ZstdDecompressor(ZstdDecompressor&&) noexcept;
  ZstdDecompressor& operator=(ZstdDecompressor&&) noexcept;

  // Decompresses `frames` (one frame or several, whole) into exactly `out`; more, less, trailing
  // bytes or a broken frame are kCorrupt.
  Status Decompress(ByteSpan frames, MutableByteSpan out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Decodes a stream of frames, skippable ones passed over, that arrives in pieces.
class ZstdStreamDecoder {
 public:
  // Frames may have windows, which the decoder holds in memory, of 2^max_window_log bytes.
  explicit ZstdStreamDecoder(int max_window_log = kZstdMaxWindowLog);
  ~ZstdStreamDecoder();
  ZstdStreamDecoder(ZstdStreamDecoder&&) noexcept;
  ZstdStreamDecoder& operator=(ZstdStreamDecoder&&) noexcept;

  // Consumes from the front of `input` and fills the front of `output`; returns the bytes written.
  // Call until `input` is empty and less than output.size() came out. kCorrupt: a broken frame, or
  // anything but another frame behind a frame; kUnsupported: a dictionary, a larger window.
  // Then `input` begins about where the trouble is.
  Result<size_t> Decode(ByteSpan& input, MutableByteSpan output);
  // Whether the input so far ends at a frame's end.
  bool at_frame_end() const;
  // Whether Decode failed for a window that is too large.
  bool refused_window() const;

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace layerfs

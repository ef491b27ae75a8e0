// SPDX-License-Identifier: Apache-2.0
#include "index/base/zstd_codec.h"

#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_customMem
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <new>
#include <string>
#include <vector>

#include "index/base/large_buffer.h"

namespace layerfs {
namespace {

// A context's memory: tens of megabytes for a long window or a high level's tables, made for one
// use.
class ContextMemory {
 public:
  ZSTD_customMem functions() { return {Allocate, Free, this}; }

 private:
  // zstd knows no exceptions: it makes an error of its own of null.
  static void* Allocate(void* self, size_t size) try {
    return static_cast<ContextMemory*>(self)->buffers_.emplace_back(size).data();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  static void Free(void* self, void* memory) {
    std::erase_if(static_cast<ContextMemory*>(self)->buffers_,
                  [memory](const LargeBuffer& buffer) { return buffer.data() == memory; });
  }
  std::vector<LargeBuffer> buffers_;
};

struct CompressionContext {
  ~CompressionContext() { ZSTD_freeCCtx(zstd); }
  ContextMemory memory;
  ZSTD_CCtx* zstd = ZSTD_createCCtx_advanced(memory.functions());
};

}  // namespace

std::string ZstdVersion() { return ZSTD_versionString(); }

struct ZstdCompressor::Context : CompressionContext {};

ZstdCompressor::ZstdCompressor(int level) : context_(std::make_unique<Context>()) {
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_contentSizeFlag, 1);
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_checksumFlag, 0);
}
ZstdCompressor::~ZstdCompressor() = default;
ZstdCompressor::ZstdCompressor(ZstdCompressor&&) noexcept = default;
ZstdCompressor& ZstdCompressor::operator=(ZstdCompressor&&) noexcept = default;

Status ZstdCompressor::Compress(ByteSpan data, Bytes& out) {
  out.resize(Bound(data.size()));
  LAYERFS_TRY(size, CompressInto(data, out));
  out.resize(size);
  return {};
}

Result<size_t> ZstdCompressor::CompressInto(ByteSpan data, MutableByteSpan room) {
  const size_t size =
      ZSTD_compress2(context_->zstd, room.data(), room.size(), data.data(), data.size());
  if (ZSTD_isError(size) != 0) {
    return Fail(ErrorCode::kIo, std::string("zstd: ") + ZSTD_getErrorName(size));
  }
  return size;
}

size_t ZstdCompressor::Bound(size_t data_size) { return ZSTD_compressBound(data_size); }

struct ZstdStreamCompressor::Context : CompressionContext {};

ZstdStreamCompressor::ZstdStreamCompressor(int level, uint64_t size)
    : context_(std::make_unique<Context>()) {
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_enableLongDistanceMatching, 1);
  // No larger than the data: the window is what a decoder has to hold.
  const int window = std::clamp(static_cast<int>(std::bit_width(size)), 10, kZstdMaxWindowLog);
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_windowLog, window);
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_contentSizeFlag, 1);
  ZSTD_CCtx_setParameter(context_->zstd, ZSTD_c_checksumFlag, 0);
  ZSTD_CCtx_setPledgedSrcSize(context_->zstd, size);
}
ZstdStreamCompressor::~ZstdStreamCompressor() = default;
ZstdStreamCompressor::ZstdStreamCompressor(ZstdStreamCompressor&&) noexcept = default;
ZstdStreamCompressor& ZstdStreamCompressor::operator=(ZstdStreamCompressor&&) noexcept = default;

Status ZstdStreamCompressor::Compress(ByteSpan piece, bool last, Bytes& out) {
  ZSTD_inBuffer in{piece.data(), piece.size(), 0};
  size_t left = 0;
  do {
    const size_t used = out.size();
    out.resize(used + ZSTD_CStreamOutSize());
    ZSTD_outBuffer to{out.data() + used, out.size() - used, 0};
    left = ZSTD_compressStream2(context_->zstd, &to, &in, last ? ZSTD_e_end : ZSTD_e_flush);
    out.resize(used + to.pos);
    if (ZSTD_isError(left) != 0) {
      return Fail(ErrorCode::kIo, std::string("zstd: ") + ZSTD_getErrorName(left));
    }
  } while (left != 0);
  return {};
}

struct ZstdDecompressor::Context {
  Context() { ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, kZstdMaxWindowLog); }
  ~Context() { ZSTD_freeDCtx(zstd); }
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
};

ZstdDecompressor::ZstdDecompressor() : context_(std::make_unique<Context>()) {}
ZstdDecompressor::~ZstdDecompressor() = default;
ZstdDecompressor::ZstdDecompressor(ZstdDecompressor&&) noexcept = default;
ZstdDecompressor& ZstdDecompressor::operator=(ZstdDecompressor&&) noexcept = default;

Status ZstdDecompressor::Decompress(ByteSpan frames, MutableByteSpan out) {
  const size_t size =
      ZSTD_decompressDCtx(context_->zstd, out.data(), out.size(), frames.data(), frames.size());
  if (ZSTD_isError(size) != 0) {
    return Fail(ErrorCode::kCorrupt, std::string("zstd frame: ") + ZSTD_getErrorName(size));
  }
  if (size != out.size()) {
    return Fail(ErrorCode::kCorrupt, "zstd frame: holds " + std::to_string(size) + " bytes, not " +
                                         std::to_string(out.size()));
  }
  return {};
}

namespace {

Error StreamError(size_t code, int max_window_log) {
  switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_frameParameter_windowTooLarge:
      return {ErrorCode::kUnsupported, "zstd stream: a window of more than " +
                                           std::to_string(1 << (max_window_log - 20)) +
                                           " MiB: compress it again, with a shorter --long"};
    case ZSTD_error_dictionary_wrong:
      return {ErrorCode::kUnsupported, "zstd stream: a frame that needs a dictionary"};
    default:
      return {ErrorCode::kCorrupt, std::string("zstd stream: ") + ZSTD_getErrorName(code)};
  }
}

}  // namespace

struct ZstdStreamDecoder::Context {
  explicit Context(int max_window_log) : max_window_log(max_window_log) {
    ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, max_window_log);
  }
  ~Context() { ZSTD_freeDCtx(zstd); }
  ContextMemory memory;
  ZSTD_DCtx* zstd = ZSTD_createDCtx_advanced(memory.functions());
  const int max_window_log;
  bool at_frame_end = true;
  bool refused_window = false;
};

ZstdStreamDecoder::ZstdStreamDecoder(int max_window_log)
    : context_(std::make_unique<Context>(max_window_log)) {}
ZstdStreamDecoder::~ZstdStreamDecoder() = default;
ZstdStreamDecoder::ZstdStreamDecoder(ZstdStreamDecoder&&) noexcept = default;
ZstdStreamDecoder& ZstdStreamDecoder::operator=(ZstdStreamDecoder&&) noexcept = default;

Result<size_t> ZstdStreamDecoder::Decode(ByteSpan& input, MutableByteSpan output) {
  ZSTD_inBuffer in{input.data(), input.size(), 0};
  ZSTD_outBuffer out{output.data(), output.size(), 0};
  while (out.pos < out.size) {
    const size_t in_before = in.pos;
    const size_t out_before = out.pos;
    if (in.pos == in.size && context_->at_frame_end) break;
    const size_t hint = ZSTD_decompressStream(context_->zstd, &out, &in);
    if (ZSTD_isError(hint) != 0) {
      input = input.subspan(in.pos);
      context_->refused_window =
          ZSTD_getErrorCode(hint) == ZSTD_error_frameParameter_windowTooLarge;
      return Fail(StreamError(hint, context_->max_window_log));
    }
    context_->at_frame_end = hint == 0;
    if (in.pos == in_before && out.pos == out_before) break;
  }
  input = input.subspan(in.pos);
  return out.pos;
}

bool ZstdStreamDecoder::at_frame_end() const { return context_->at_frame_end; }
bool ZstdStreamDecoder::refused_window() const { return context_->refused_window; }

}  // namespace layerfs

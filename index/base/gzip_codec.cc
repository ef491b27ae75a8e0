// SPDX-License-Identifier: Apache-2.0
#include "index/base/gzip_codec.h"

#include <libdeflate.h>

#include <cassert>

namespace layerfs {
namespace {

std::unexpected<Error> CorruptMember(const std::string& what) {
  return Fail(ErrorCode::kCorrupt, "gzip member: " + what);
}

}  // namespace

std::string DeflateVersion() { return LIBDEFLATE_VERSION_STRING; }

struct GzipCompressor::Context {
  explicit Context(int level) : deflate(libdeflate_alloc_compressor(level)) {}
  ~Context() { libdeflate_free_compressor(deflate); }
  libdeflate_compressor* deflate;
};

GzipCompressor::GzipCompressor(int level) : context_(std::make_unique<Context>(level)) {
  assert(level >= kMinGzipLevel && level <= kMaxGzipLevel);
}
GzipCompressor::~GzipCompressor() = default;
GzipCompressor::GzipCompressor(GzipCompressor&&) noexcept = default;
GzipCompressor& GzipCompressor::operator=(GzipCompressor&&) noexcept = default;

Result<size_t> GzipCompressor::CompressInto(ByteSpan data, MutableByteSpan room) {
  if (context_->deflate == nullptr) return Fail(ErrorCode::kIo, "gzip: out of memory");
  const size_t size = libdeflate_gzip_compress(context_->deflate, data.data(), data.size(),
                                               room.data(), room.size());
  if (size == 0) return Fail(ErrorCode::kIo, "gzip: the room is too small");
  return size;
}

size_t GzipCompressor::Bound(size_t data_size) {
  return libdeflate_gzip_compress_bound(nullptr, data_size);
}

struct GzipDecompressor::Context {
  ~Context() { libdeflate_free_decompressor(inflate); }
  libdeflate_decompressor* inflate = libdeflate_alloc_decompressor();
};

GzipDecompressor::GzipDecompressor() : context_(std::make_unique<Context>()) {}
GzipDecompressor::~GzipDecompressor() = default;
GzipDecompressor::GzipDecompressor(GzipDecompressor&&) noexcept = default;
GzipDecompressor& GzipDecompressor::operator=(GzipDecompressor&&) noexcept = default;

Status GzipDecompressor::Decompress(ByteSpan members, MutableByteSpan out) {
  if (context_->inflate == nullptr) return Fail(ErrorCode::kIo, "gzip: out of memory");
  size_t written = 0;
  while (!members.empty()) {
    size_t used = 0;
    size_t size = 0;
    const libdeflate_result result =
        libdeflate_gzip_decompress_ex(context_->inflate, members.data(), members.size(),
                                      out.data() + written, out.size() - written, &used, &size);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE) {
      return CorruptMember("holds more than " + std::to_string(out.size()) + " bytes");
    }
    if (result != LIBDEFLATE_SUCCESS) return CorruptMember("broken, or no gzip at all");
    members = members.subspan(used);
    written += size;
  }
  if (written != out.size()) {
    return CorruptMember("holds " + std::to_string(written) + " bytes, not " +
                         std::to_string(out.size()));
  }
  return {};
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fetch/chunk_decoder.h"

#include <string>

#include "index/base/gzip_codec.h"
#include "index/base/zstd_codec.h"

namespace layerfs {
namespace {

// Whole indexes are fetched as chunks too; chunk tables hold their chunks to kMaxChunkBytes.
constexpr uint64_t kMaxFetchedBytes = kMaxIndexBytes;
// No encoder that is worth its name makes more of a chunk than this.
constexpr uint64_t kMaxStoredBytes = uint64_t{2} * kMaxFetchedBytes;

Status Decompress(const ChunkRef& chunk, ByteSpan stored, MutableByteSpan out) {
  switch (chunk.codec) {
    case ChunkCodec::kStored:
      if (stored.size() != out.size()) return Fail(ErrorCode::kCorrupt, "stored size differs");
      std::memcpy(out.data(), stored.data(), out.size());
      return {};
    case ChunkCodec::kZstdFrame: {
      thread_local ZstdDecompressor decompressor;
      return decompressor.Decompress(stored, out);
    }
    case ChunkCodec::kGzipMember: {
      thread_local GzipDecompressor decompressor;
      return decompressor.Decompress(stored, out);
    }
    case ChunkCodec::kDeflateSpan:
      break;
  }
  return Fail(ErrorCode::kUnsupported,
              "codec " + std::to_string(static_cast<int>(chunk.codec)) + " of a newer layerfs");
}

}  // namespace

Status CheckChunkRef(const ChunkRef& chunk, uint64_t blob_size) {
  const bool sizes_fit = chunk.size > 0 && chunk.size <= kMaxFetchedBytes &&
                         chunk.stored_size > 0 && chunk.stored_size <= kMaxStoredBytes;
  if (sizes_fit && RangeFits(chunk.blob_offset, chunk.stored_size, blob_size)) return {};
  return Fail(ErrorCode::kCorrupt,
              "the index names a chunk that cannot be: " + std::to_string(chunk.stored_size) +
                  " bytes at " + std::to_string(chunk.blob_offset) + " for " +
                  std::to_string(chunk.size) + ", in a blob of " + std::to_string(blob_size));
}

Result<SharedBytes> DecodeChunk(const ChunkRef& chunk, ByteSpan stored) {
  auto content = std::make_shared<Bytes>(chunk.size);
  LAYERFS_CHECK_OK(Decompress(chunk, stored, *content));
  const Digest digest = Digest::Of(*content);
  if (digest != chunk.digest) {
    return Fail(ErrorCode::kDigestMismatch,
                "content is " + digest.ToString() + ", not " + chunk.digest.ToString());
  }
  return SharedBytes(std::move(content));
}

}  // namespace layerfs

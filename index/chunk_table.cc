// SPDX-License-Identifier: Apache-2.0
#include "index/chunk_table.h"

#include <algorithm>
#include <string>

namespace layerfs {
namespace {

// FORMAT.md, "Segments": a 16-byte head, then the records.
constexpr size_t kHeadSize = 16;
constexpr size_t kChunkRecordSize = 64;
constexpr size_t kContentRecordSize = 48;
constexpr size_t kChunkReserved = 7;

Error Broken(uint64_t record, std::string_view what) {
  return Error{ErrorCode::kCorrupt,
               "chunk table record " + std::to_string(record) + ": " + std::string(what)};
}

Digest ReadDigest(ByteReader& reader) {
  Digest digest;
  const ByteSpan bytes = reader.ReadSpan(Digest::kSize);
  if (bytes.size() == Digest::kSize) std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  return digest;
}

bool AllZero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

Result<Chunk> ReadChunk(ByteReader& reader, uint64_t number, uint64_t expected_tar_offset) {
  Chunk chunk;
  chunk.ref.digest = ReadDigest(reader);
  chunk.ref.blob_offset = reader.Read<uint64_t>();
  chunk.tar_offset = reader.Read<uint64_t>();
  chunk.ref.stored_size = reader.Read<uint32_t>();
  chunk.ref.size = reader.Read<uint32_t>();
  const auto codec = reader.Read<uint8_t>();
  const bool clean = AllZero(reader.ReadSpan(kChunkReserved));
  if (codec > static_cast<uint8_t>(ChunkCodec::kZstdFrame)) {
    return Fail(ErrorCode::kUnsupported, "chunk table record " + std::to_string(number) +
                                             ": codec " + std::to_string(codec) +
                                             " is unknown: use a newer layerfs");
  }
  chunk.ref.codec = static_cast<ChunkCodec>(codec);
  if (!clean) return Fail(Broken(number, "reserved bytes are not zero"));
  if (chunk.tar_offset != expected_tar_offset) return Fail(Broken(number, "does not adjoin"));
  if (chunk.ref.size == 0 || chunk.ref.size > kMaxChunkBytes || chunk.ref.stored_size == 0 ||
      chunk.ref.stored_size > kMaxChunkBytes ||
      (chunk.ref.codec == ChunkCodec::kStored && chunk.ref.stored_size != chunk.ref.size) ||
      !RangeFits(chunk.ref.blob_offset, chunk.ref.stored_size, INT64_MAX)) {
    return Fail(Broken(number, "size"));
  }
  return chunk;
}

}  // namespace

Result<ChunkTableSegment> ChunkTableSegment::Open(ByteSpan bytes, const SegmentRef& where) {
  ByteReader reader(bytes);
  const auto chunk_count = reader.Read<uint32_t>();
  const auto content_count = reader.Read<uint32_t>();
  const auto zero = reader.Read<uint64_t>();
  const uint64_t expected = kHeadSize + uint64_t{chunk_count} * kChunkRecordSize +
                            uint64_t{content_count} * kContentRecordSize;
  if (!reader.ok() || zero != 0 || bytes.size() != expected || chunk_count == 0) {
    return Fail(ErrorCode::kCorrupt, "chunk table: counts do not fit its size");
  }
  ChunkTableSegment segment;
  segment.chunks_.reserve(chunk_count);
  uint64_t tar_offset = where.tar_begin;
  for (uint32_t i = 0; i < chunk_count; ++i) {
    LAYERFS_TRY(chunk, ReadChunk(reader, i, tar_offset));
    tar_offset += chunk.ref.size;
    segment.chunks_.push_back(chunk);
  }
  if (tar_offset != where.tar_end) {
    return Fail(ErrorCode::kCorrupt, "chunk table: does not cover its range of the tar");
  }
  segment.contents_.reserve(content_count);
  uint64_t content_end = where.tar_begin;
  for (uint32_t i = 0; i < content_count; ++i) {
    Content content;
    content.digest = ReadDigest(reader);
    content.tar_offset = reader.Read<uint64_t>();
    content.size = reader.Read<uint64_t>();
    const Chunk* first = segment.FindChunk(content.tar_offset);
    if (content.size == 0 || content.tar_offset < content_end || first == nullptr ||
        first->tar_offset != content.tar_offset ||
        !RangeFits(content.tar_offset, content.size, INT64_MAX)) {
      return Fail(ErrorCode::kCorrupt, "chunk table: content " + std::to_string(i) +
                                           " does not begin a chunk or is out of order");
    }
    content_end = content.tar_offset + content.size;
    segment.contents_.push_back(content);
  }
  return segment;
}

Bytes ChunkTableSegment::Encode(std::span<const Chunk> chunks, std::span<const Content> contents) {
  ByteWriter writer;
  writer.Write(static_cast<uint32_t>(chunks.size()));
  writer.Write(static_cast<uint32_t>(contents.size()));
  writer.Write(uint64_t{0});
  for (const Chunk& chunk : chunks) {
    writer.WriteSpan(chunk.ref.digest.bytes);
    writer.Write(chunk.ref.blob_offset);
    writer.Write(chunk.tar_offset);
    writer.Write(chunk.ref.stored_size);
    writer.Write(chunk.ref.size);
    writer.Write(static_cast<uint8_t>(chunk.ref.codec));
    writer.PadTo(kChunkReserved + 1);
  }
  for (const Content& content : contents) {
    writer.WriteSpan(content.digest.bytes);
    writer.Write(content.tar_offset);
    writer.Write(content.size);
  }
  return std::move(writer).Take();
}

const Chunk* ChunkTableSegment::FindChunk(uint64_t tar_offset) const {
  auto it = std::upper_bound(
      chunks_.begin(), chunks_.end(), tar_offset,
      [](uint64_t offset, const Chunk& chunk) { return offset < chunk.tar_offset; });
  if (it == chunks_.begin()) return nullptr;
  --it;
  return tar_offset - it->tar_offset < it->ref.size ? &*it : nullptr;
}

const Content* ChunkTableSegment::FindContent(uint64_t tar_offset) const {
  const auto it = std::lower_bound(
      contents_.begin(), contents_.end(), tar_offset,
      [](const Content& content, uint64_t offset) { return content.tar_offset < offset; });
  return it != contents_.end() && it->tar_offset == tar_offset ? &*it : nullptr;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/chunk_table.h"

#include <algorithm>
#include <string>

namespace layerfs {
namespace {

// FORMAT.md, "Segments of the chunk table": a head, then columns.
constexpr uint64_t kHeadSize = 16;
constexpr uint64_t kBytesPerChunk = 8 + 4 + 4 + 1 + Digest::kSize;
constexpr uint64_t kBytesPerContent = 4 + 8 + Digest::kSize;

Error Broken(std::string_view what) {
  return Error{ErrorCode::kCorrupt, "chunk table: " + std::string(what)};
}
Error BrokenChunk(uint64_t position, std::string_view what) {
  return Broken("chunk " + std::to_string(position) + ": " + std::string(what));
}

Digest ReadDigest(ByteReader& reader) {
  Digest digest;
  const ByteSpan bytes = reader.ReadSpan(Digest::kSize);
  std::ranges::copy(bytes, digest.bytes.begin());
  return digest;
}

Status CheckChunk(const ChunkRef& ref, uint64_t position) {
  if (ref.codec > ChunkCodec::kGzipMember) {
    return Fail(ErrorCode::kUnsupported,
                "chunk table: chunk " + std::to_string(position) + ": codec " +
                    std::to_string(static_cast<int>(ref.codec)) + ": use a newer layerfs");
  }
  if (ref.size == 0 || ref.size > kMaxChunkBytes || ref.stored_size == 0 ||
      ref.stored_size > kMaxChunkBytes ||
      (ref.codec == ChunkCodec::kStored && ref.stored_size != ref.size) ||
      !RangeFits(ref.blob_offset, ref.stored_size, INT64_MAX)) {
    return Fail(BrokenChunk(position, "size or place in the blob"));
  }
  return {};
}

// The chunks' columns. The tar offsets follow from the sizes.
std::vector<Chunk> ReadChunks(ByteReader& reader, uint32_t count, uint64_t tar_begin) {
  std::vector<Chunk> chunks(count);
  for (Chunk& chunk : chunks) chunk.ref.blob_offset = reader.Read<uint64_t>();
  for (Chunk& chunk : chunks) chunk.ref.stored_size = reader.Read<uint32_t>();
  for (Chunk& chunk : chunks) chunk.ref.size = reader.Read<uint32_t>();
  for (Chunk& chunk : chunks) chunk.ref.codec = static_cast<ChunkCodec>(reader.Read<uint8_t>());
  for (Chunk& chunk : chunks) chunk.ref.digest = ReadDigest(reader);
  uint64_t blob_end = 0;
  uint64_t tar_end = tar_begin;
  for (Chunk& chunk : chunks) {
    chunk.ref.blob_offset += blob_end;  // Modulo 2^64, as the format has it.
    blob_end = chunk.ref.blob_offset + chunk.ref.stored_size;
    chunk.tar_offset = tar_end;
    tar_end += chunk.ref.size;
  }
  return chunks;
}

// The contents' columns; kCorrupt where one begins no chunk, or before the last one ends.
Result<std::vector<Content>> ReadContents(ByteReader& reader, uint32_t count,
                                          std::span<const Chunk> chunks) {
  std::vector<Content> contents(count);
  std::vector<uint32_t> first_chunks(count);
  for (uint32_t& first : first_chunks) first = reader.Read<uint32_t>();
  for (Content& content : contents) content.size = reader.Read<uint64_t>();
  for (Content& content : contents) content.digest = ReadDigest(reader);
  uint64_t end = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Content& content = contents[i];
    if (first_chunks[i] >= chunks.size() || (i > 0 && first_chunks[i] <= first_chunks[i - 1])) {
      return Fail(Broken("content " + std::to_string(i) + ": its first chunk"));
    }
    content.tar_offset = chunks[first_chunks[i]].tar_offset;
    if (content.size == 0 || content.tar_offset < end ||
        !RangeFits(content.tar_offset, content.size, INT64_MAX)) {
      return Fail(Broken("content " + std::to_string(i) + ": its size"));
    }
    end = content.tar_offset + content.size;
  }
  return contents;
}

}  // namespace

Result<ChunkTableSegment> ChunkTableSegment::Open(ByteSpan bytes, const SegmentRef& where) {
  ByteReader reader(bytes);
  const auto chunk_count = reader.Read<uint32_t>();
  const auto content_count = reader.Read<uint32_t>();
  const auto zero = reader.Read<uint64_t>();
  const uint64_t expected =
      kHeadSize + chunk_count * kBytesPerChunk + content_count * kBytesPerContent;
  if (!reader.ok() || zero != 0 || bytes.size() != expected || chunk_count == 0) {
    return Fail(Broken("counts do not fit its size"));
  }
  if (where.tar_begin > where.tar_end || where.tar_end > INT64_MAX) {
    return Fail(Broken("a range of the tar that cannot be"));
  }
  ChunkTableSegment segment;
  segment.chunks_ = ReadChunks(reader, chunk_count, where.tar_begin);
  for (uint32_t i = 0; i < chunk_count; ++i) {
    const Chunk& chunk = segment.chunks_[i];
    LAYERFS_CHECK_OK(CheckChunk(chunk.ref, i));
    if (!RangeFits(chunk.tar_offset, chunk.ref.size, where.tar_end)) {
      return Fail(BrokenChunk(i, "beyond the segment's end in the tar"));
    }
  }
  const Chunk& last = segment.chunks_.back();
  if (last.tar_offset + last.ref.size != where.tar_end) {
    return Fail(Broken("does not reach the segment's end in the tar"));
  }
  LAYERFS_TRY(contents, ReadContents(reader, content_count, segment.chunks_));
  segment.contents_ = std::move(contents);
  return segment;
}

Bytes ChunkTableSegment::Encode(std::span<const Chunk> chunks, std::span<const Content> contents) {
  ByteWriter writer;
  writer.Write(static_cast<uint32_t>(chunks.size()));
  writer.Write(static_cast<uint32_t>(contents.size()));
  writer.Write(uint64_t{0});
  uint64_t blob_end = 0;
  for (const Chunk& chunk : chunks) {
    writer.Write(chunk.ref.blob_offset - blob_end);
    blob_end = chunk.ref.blob_offset + chunk.ref.stored_size;
  }
  for (const Chunk& chunk : chunks) writer.Write(chunk.ref.stored_size);
  for (const Chunk& chunk : chunks) writer.Write(chunk.ref.size);
  for (const Chunk& chunk : chunks) writer.Write(static_cast<uint8_t>(chunk.ref.codec));
  for (const Chunk& chunk : chunks) writer.WriteSpan(chunk.ref.digest.bytes);
  for (const Content& content : contents) {
    const auto first = std::ranges::lower_bound(chunks, content.tar_offset, {}, &Chunk::tar_offset);
    const bool begins_a_chunk = first != chunks.end() && first->tar_offset == content.tar_offset;
    // One that begins no chunk cannot be told, and must not become another file's bytes: refused.
    writer.Write(begins_a_chunk ? static_cast<uint32_t>(first - chunks.begin()) : UINT32_MAX);
  }
  for (const Content& content : contents) writer.Write(content.size);
  for (const Content& content : contents) writer.WriteSpan(content.digest.bytes);
  return std::move(writer).Take();
}

const Chunk* ChunkTableSegment::FindChunk(uint64_t tar_offset) const {
  auto it = std::ranges::upper_bound(chunks_, tar_offset, {}, &Chunk::tar_offset);
  if (it == chunks_.begin()) return nullptr;
  --it;
  return tar_offset - it->tar_offset < it->ref.size ? &*it : nullptr;
}

const Content* ChunkTableSegment::FindContent(uint64_t tar_offset) const {
  const auto it = std::ranges::lower_bound(contents_, tar_offset, {}, &Content::tar_offset);
  return it != contents_.end() && it->tar_offset == tar_offset ? &*it : nullptr;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_chunk_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace layerfs {
namespace {

constexpr char kName[] = "chunks";
// Buckets of one page, found by the first bytes of the digest. 4096 of them know 172,000 chunks in
// 16 MiB, which stand for tens of gigabytes of large files; a full bucket forgets.
constexpr uint64_t kBuckets = 4096;
constexpr uint64_t kBucketBytes = kCachePageBytes;
// A slot: the chunk's digest (its first 16 bytes), the object's names, LE64 offset, LE32 size,
// zeros.
constexpr size_t kKeyBytes = 16;
constexpr size_t kSlotBytes = 96;
constexpr size_t kSlots = kBucketBytes / kSlotBytes;

using Bucket = std::array<uint8_t, kBucketBytes>;

uint64_t BucketOffset(const Digest& chunk) {
  uint64_t number;
  std::memcpy(&number, chunk.bytes.data(), sizeof number);
  return number % kBuckets * kBucketBytes;
}

bool Holds(const Bucket& bucket, size_t slot, const Digest& chunk) {
  return std::memcmp(&bucket[slot * kSlotBytes], chunk.bytes.data(), kKeyBytes) == 0;
}

std::optional<size_t> SlotOf(const Bucket& bucket, const Digest& chunk) {
  for (size_t slot = 0; slot < kSlots; ++slot) {
    if (Holds(bucket, slot, chunk)) return slot;
  }
  return std::nullopt;
}

Bucket ReadBucket(int fd, const Digest& chunk) {
  Bucket bucket{};
  // Nothing there, or trouble: as if empty.
  static_cast<void>(
      !::pread(fd, bucket.data(), bucket.size(), static_cast<off_t>(BucketOffset(chunk))));
  return bucket;
}

Bytes EncodeSlot(const Digest& chunk, const ChunkLocation& location) {
  ByteWriter slot;
  slot.WriteSpan(ByteSpan(chunk.bytes).first(kKeyBytes));
  slot.WriteSpan(location.whole.bytes);
  slot.WriteSpan(location.partial.bytes);
  slot.Write(location.offset);
  slot.Write(location.size);
  slot.PadTo(kSlotBytes);
  return std::move(slot).Take();
}

ChunkLocation DecodeSlot(ByteSpan slot) {
  ByteReader reader(slot);
  reader.Skip(kKeyBytes);
  ChunkLocation location;
  std::ranges::copy(reader.ReadSpan(Digest::kSize), location.whole.bytes.begin());
  std::ranges::copy(reader.ReadSpan(Digest::kSize), location.partial.bytes.begin());
  location.offset = reader.Read<uint64_t>();
  location.size = reader.Read<uint32_t>();
  return location;
}

}  // namespace

const UniqueFd* CacheChunkIndex::File(bool create) const {
  if (!opened_.load()) {
    const std::lock_guard lock(opening_);
    if (!file_.valid()) {
      const int flags = directory_.read_only() ? O_RDONLY : O_RDWR | (create ? O_CREAT : 0);
      Result<UniqueFd> opened = directory_.OpenAt(kName, flags);
      if (!opened.has_value()) return nullptr;
      file_ = std::move(*opened);
    }
    opened_.store(true);
  }
  return &file_;
}

void CacheChunkIndex::Put(const Digest& chunk, const ChunkLocation& location) {
  if (directory_.read_only()) return;
  const UniqueFd* file = File(/*create=*/true);
  if (file == nullptr) return;
  const Bucket bucket = ReadBucket(file->get(), chunk);
  const Bytes slot = EncodeSlot(chunk, location);
  // Where it is already, or in a free slot, or in place of one that the digest picks.
  std::optional<size_t> place = SlotOf(bucket, chunk);
  if (!place.has_value()) place = SlotOf(bucket, Digest{});
  if (!place.has_value()) place = chunk.bytes[Digest::kSize - 1] % kSlots;
  if (std::memcmp(&bucket[*place * kSlotBytes], slot.data(), kSlotBytes) == 0) return;
  // What cannot be written is not remembered.
  static_cast<void>(WriteFullAt(file->get(), BucketOffset(chunk) + *place * kSlotBytes, slot));
}

std::optional<ChunkLocation> CacheChunkIndex::Find(const Digest& chunk) const {
  const UniqueFd* file = File(/*create=*/false);
  if (file == nullptr) return std::nullopt;
  const Bucket bucket = ReadBucket(file->get(), chunk);
  const std::optional<size_t> slot = SlotOf(bucket, chunk);
  if (!slot.has_value()) return std::nullopt;
  return DecodeSlot(ByteSpan(bucket).subspan(*slot * kSlotBytes, kSlotBytes));
}

void CacheChunkIndex::Erase(const Digest& chunk) {
  const UniqueFd* file = File(/*create=*/false);
  if (file == nullptr || directory_.read_only()) return;
  const std::optional<size_t> slot = SlotOf(ReadBucket(file->get(), chunk), chunk);
  if (!slot.has_value()) return;
  static_cast<void>(
      WriteFullAt(file->get(), BucketOffset(chunk) + *slot * kSlotBytes, Bytes(kSlotBytes)));
}

}  // namespace layerfs

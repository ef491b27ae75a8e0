// SPDX-License-Identifier: Apache-2.0
// DiskObject's second looks: bytes that are at hand and have yet to prove themselves, its own and
// those of other objects.
#include <fcntl.h>
#include <sys/stat.h>

#include "fetch/cache_object.h"
#include "fetch/cache_object_lock.h"
#include "index/base/log.h"

namespace layerfs {

bool DiskObject::HasCandidate(const Digest& chunk, uint64_t offset, uint64_t size) {
  if (!RangeFits(offset, size, id_.size) || size == 0) return false;
  if (HasUnverified(offset, size)) return true;
  const std::optional<ChunkLocation> location = state_->chunks.Find(chunk);
  return location.has_value() && location->size == size;
}

bool DiskObject::HasUnverified(uint64_t offset, uint64_t size) {
  const std::lock_guard lock(mutex_);
  const OpenedFile* opened = current_.load();
  if (opened == nullptr || opened->verified == nullptr) return false;
  if (opened->on_disk == nullptr) return true;
  const PageRange pages = PagesOf(offset, size);
  return opened->on_disk->Load(opened->file.get(), pages).has_value() &&
         opened->on_disk->Covers(pages);
}

Result<SharedBytes> DiskObject::AdoptCandidate(const Digest& chunk, uint64_t offset,
                                               uint64_t size) {
  if (!RangeFits(offset, size, id_.size) || size == 0) {
    return Fail(Describe(ErrorCode::kInvalidArgument, "chunk is not inside the object"));
  }
  if (HasUnverified(offset, size)) return VerifyOwn(chunk, offset, size);
  const std::optional<ChunkLocation> location = state_->chunks.Find(chunk);
  if (!location.has_value() || location->size != size) {
    return Fail(Describe(ErrorCode::kNotFound, "no other object holds the chunk"));
  }
  Result<SharedBytes> adopted = AdoptFrom(*location, chunk, offset, size);
  if (!adopted.has_value()) state_->chunks.Erase(chunk);
  return adopted;
}

Result<SharedBytes> DiskObject::VerifyOwn(const Digest& chunk, uint64_t offset, uint64_t size) {
  auto content = std::make_shared<Bytes>(size);
  const Status read = ReadFullAt(fd(), offset, *content);
  if (!read.has_value() || Digest::Of(*content) != chunk) {
    const Error trouble =
        Describe(ErrorCode::kDigestMismatch, "damaged on disk; it is dropped and fetched again");
    LogWarning(trouble.context);
    Discard();
    return Fail(trouble);
  }
  const std::lock_guard lock(mutex_);
  const OpenedFile* opened = current_.load();
  if (whole_.load() || opened == nullptr || opened->verified == nullptr) return content;
  opened->verified->Set(PagesOf(offset, size));
  if (opened->on_disk == nullptr && opened->verified->IsFullInMemory()) {
    whole_.store(true);
    if (!state_->directory->read_only()) NoteVerified(opened->file.get());
  }
  return content;
}

Result<SharedBytes> DiskObject::AdoptFrom(const ChunkLocation& location, const Digest& chunk,
                                          uint64_t offset, uint64_t size) {
  const CacheDirectory& directory = *state_->directory;
  Result<UniqueFd> file = directory.OpenAt(WholeObjectName(location.whole), O_RDONLY);
  if (!file.has_value()) file = directory.OpenAt(PartialObjectName(location.partial), O_RDONLY);
  if (!file.has_value()) return Fail(Describe(std::move(file).error()));
  auto content = std::make_shared<Bytes>(size);
  const Status read = ReadFullAt(file->get(), location.offset, *content);
  if (!read.has_value()) return Fail(Describe(read.error()));
  if (Digest::Of(*content) != chunk) {
    return Fail(Describe(ErrorCode::kDigestMismatch, "the chunk is not where it was"));
  }
  // It is right whether the cache takes it or not.
  const Status stored = size == id_.size && chunk == id_.digest
                            ? WriteWhole(*content)
                            : Store(offset, *content, CopySource{file->get(), location.offset});
  if (!stored.has_value()) LogDebug(stored.error().context);
  return content;
}

void DiskObject::NoteChunk(const Digest& chunk, uint64_t offset, uint64_t size) {
  state_->chunks.Put(chunk,
                     {id_.digest, PartialObjectKey(id_), offset, static_cast<uint32_t>(size)});
}

void DiskObject::Discard() {
  const std::lock_guard lock(mutex_);
  const OpenedFile* opened = current_.load();
  if (opened == nullptr) return;
  UnlinkIfOurs(WholeObjectName(id_.digest), opened->file.get());
  UnlinkIfOurs(PartialObjectName(id_), opened->file.get());
  discarded_for_good_ = state_->directory->read_only();
  whole_.store(false);
  current_.store(nullptr);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// DiskObject's reading and writing.
#include "fetch/cache_object.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fetch/cache_eviction.h"
#include "fetch/cache_object_lock.h"
#include "index/base/uncached_read.h"

namespace layerfs {
namespace {

// A read as large as this comes from a reader that goes through the file: the kernel holds what it
// is given, and a copy in the page cache of our file would be the second. Small reads share pages.
constexpr size_t kDropBehindBytes = size_t{64} << 10;

constexpr size_t kCheckBytes = size_t{1} << 20;

// Copies within the kernel, which is a reflink where the file system can; false where it cannot.
bool CopyRange(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size) {
  auto in = static_cast<off_t>(from_offset);
  auto out = static_cast<off_t>(to_offset);
  while (size > 0) {
    const ssize_t copied = ::copy_file_range(from, &in, to, &out, size, 0);
    if (copied <= 0) return false;
    size -= static_cast<uint64_t>(copied);
  }
  return true;
}

}  // namespace

DiskObject::DiskObject(std::shared_ptr<CacheState> state, const ObjectId& id)
    : state_(std::move(state)), id_(id) {}

DiskObject::~DiskObject() {
  state_->objects.With([&](auto& objects) {
    const auto entry = objects.find(id_);
    if (entry != objects.end() && entry->second.expired()) objects.erase(entry);
  });
}

int DiskObject::fd() const {
  const OpenedFile* opened = current_.load();
  return opened == nullptr ? -1 : opened->file.get();
}

bool DiskObject::Contains(uint64_t offset, uint64_t size) const {
  if (!RangeFits(offset, size, id_.size)) return false;
  const PageRange pages = PagesOf(offset, size);
  if (Covers(pages)) return true;
  // What this process knows of the disk is a cache of it; const for the caller.
  const_cast<DiskObject*>(this)->Refresh(pages);
  return Covers(pages);
}

Status DiskObject::Read(uint64_t offset, MutableByteSpan out) const {
  if (!Contains(offset, out.size())) {
    return Fail(Describe(ErrorCode::kNotFound, "range is not in the cache"));
  }
  if (out.empty()) return {};
  const auto read_at = out.size() >= kDropBehindBytes ? ReadFullAtUncached : ReadFullAt;
  Status read = read_at(fd(), offset, out);
  if (!read.has_value()) return Fail(Describe(std::move(read).error()));
  return {};
}

Status DiskObject::Write(uint64_t offset, ByteSpan data) {
  const bool inside = RangeFits(offset, data.size(), id_.size);
  const bool to_the_end = inside && offset + data.size() == id_.size;
  if (!inside || offset % kCachePageBytes != 0 ||
      (data.size() % kCachePageBytes != 0 && !to_the_end)) {
    return Fail(Describe(ErrorCode::kInvalidArgument, "write is not of whole pages"));
  }
  if (whole_.load() || data.empty()) return {};
  if (data.size() == id_.size && current_.load() == nullptr) {
    if (Digest::Of(data) != id_.digest) {
      return Fail(Describe(ErrorCode::kDigestMismatch, "content is not what it should be"));
    }
    return WriteWhole(data);
  }
  return Store(offset, data, {});
}

Status DiskObject::Store(uint64_t offset, ByteSpan data, const CopySource& copy) {
  if (state_->directory->read_only()) {
    return Fail(Describe(ErrorCode::kPermission, "the cache is read-only"));
  }
  state_->directory->MarkWritten();
  Status written =
      WithRoomFor(*state_, data.size(), [&] { return WritePartial(offset, data, copy); });
  NoteKeeping(written);
  if (!written.has_value()) return Fail(Describe(std::move(written).error()));
  return {};
}

Status DiskObject::WritePartial(uint64_t offset, ByteSpan data, const CopySource& copy) {
  LAYERFS_CHECK_OK(EnsureFile());
  // A file that was complete holds these bytes or wrong ones, and is not for us to change.
  const OpenedFile* opened = current_.load();
  if (whole_.load() || opened == nullptr || opened->on_disk == nullptr) return {};
  const int file = opened->file.get();
  if (copy.fd < 0 || !CopyRange(copy.fd, copy.offset, file, offset, data.size())) {
    LAYERFS_CHECK_OK(WriteFullAt(file, offset, data));
  }
  LAYERFS_TRY(full, Mark(PagesOf(offset, data.size())));
  if (!full) return {};
  if (id_.size <= kFinishAtOnceBytes) return Finish();
  unfinished_.store(true);
  return {};
}

Status DiskObject::Finish() {
  const std::lock_guard one_thread(finishing_);
  LAYERFS_TRY(full, Mark(std::nullopt));
  if (!full) return {};
  // Without mutex_, because it takes a while: what is full does not change any more.
  const int file = fd();
  const Status checked = CheckContent(file);
  if (!checked.has_value()) {
    // Every page was verified by the word of the scope; the digest says that it is not the object.
    UnlinkIfOurs(PartialObjectName(id_), file);
    return checked;
  }
  return Complete();
}

// Marks `pages`, if any. Whether every page is there now and nobody has completed the file yet.
Result<bool> DiskObject::Mark(std::optional<PageRange> pages) {
  const std::lock_guard lock(mutex_);
  const OpenedFile* opened = current_.load();
  if (whole_.load() || opened == nullptr || opened->on_disk == nullptr) return false;
  const int file = opened->file.get();
  const ScopedRangeLock marking(file, kMarkingLock);
  LAYERFS_CHECK_OK(marking.status());
  LAYERFS_TRY(size, FileSize(file));
  if (size == id_.size) {
    whole_.store(true);
    return false;
  }
  if (pages.has_value()) {
    LAYERFS_CHECK_OK(opened->on_disk->Mark(file, *pages));
    if (opened->verified != nullptr) opened->verified->Set(*pages);
  }
  return opened->on_disk->IsFull(file);
}

// From the truncation on the footer is gone and the size says that the file is complete.
Status DiskObject::Complete() {
  const std::lock_guard lock(mutex_);
  const int file = fd();
  const ScopedRangeLock marking(file, kMarkingLock);
  LAYERFS_CHECK_OK(marking.status());
  if (::ftruncate(file, static_cast<off_t>(id_.size)) != 0) return FailErrno("truncate", errno);
  PromoteLocked();
  return {};
}

// The file is complete; gives it its final name. Where that fails, another process has done it, or
// the next who opens it will.
void DiskObject::PromoteLocked() {
  whole_.store(true);
  ::fchmod(fd(), 0444);
  static_cast<void>(state_->directory->Rename(PartialObjectName(id_), WholeObjectName(id_.digest)));
}

Status DiskObject::CheckContent(int fd) const {
  Sha256 hasher;
  Bytes buffer(std::min<uint64_t>(kCheckBytes, id_.size));
  for (uint64_t offset = 0; offset < id_.size; offset += buffer.size()) {
    const MutableByteSpan part(buffer.data(), std::min<uint64_t>(buffer.size(), id_.size - offset));
    LAYERFS_CHECK_OK(ReadFullAt(fd, offset, part));
    hasher.Update(part);
  }
  if (hasher.Finish() == id_.digest) return {};
  return Fail(ErrorCode::kDigestMismatch, "the content is not what the digest says");
}

Status DiskObject::WriteWhole(ByteSpan data) {
  if (data.size() != id_.size) {
    return Fail(Describe(ErrorCode::kInvalidArgument, "not the whole object"));
  }
  if (whole_.load()) return {};
  // Where pages of it are there already, the rest joins them.
  if (current_.load() != nullptr) return Store(0, data, {});
  if (state_->directory->read_only()) {
    return Fail(Describe(ErrorCode::kPermission, "the cache is read-only"));
  }
  state_->directory->MarkWritten();
  const std::string temporary = state_->directory->NewTemporaryName();
  Status written =
      WithRoomFor(*state_, data.size(), [&] { return WriteTemporary(temporary, data); });
  if (written.has_value()) {
    written = state_->directory->Rename(temporary, WholeObjectName(id_.digest));
  }
  NoteKeeping(written);
  if (!written.has_value()) {
    ::unlinkat(state_->directory->fd(), temporary.c_str(), 0);
    return Fail(Describe(std::move(written).error()));
  }
  const std::lock_guard lock(mutex_);
  return OpenExistingLocked(Trust::kFully);
}

// Wrong content is no fault of the disk's.
void DiskObject::NoteKeeping(const Status& written) const {
  if (written.has_value()) {
    state_->unkept_writes.store(0);
  } else if (written.error().code != ErrorCode::kDigestMismatch) {
    state_->unkept_writes.fetch_add(1);
  }
}

Status DiskObject::WriteTemporary(const std::string& name, ByteSpan data) const {
  LAYERFS_TRY(file, state_->directory->OpenAt(name, O_WRONLY | O_CREAT | O_TRUNC, 0444));
  Status written = WriteFull(file.get(), data);
  if (!written.has_value()) ::unlinkat(state_->directory->fd(), name.c_str(), 0);
  return written;
}

bool DiskObject::TryClaim(uint64_t offset, uint64_t size) {
  return state_->claims.TryClaim(id_.digest, offset, size);
}

void DiskObject::Unclaim(uint64_t offset, uint64_t size) {
  state_->claims.Unclaim(id_.digest, offset, size);
}

Error DiskObject::Describe(Error error) const {
  return std::move(error).In("cache object " + id_.digest.ToString());
}

Error DiskObject::Describe(ErrorCode code, const char* what) const {
  return Describe(Error{code, what, false, 0});
}

}  // namespace layerfs

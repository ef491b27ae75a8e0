// SPDX-License-Identifier: Apache-2.0
#include "fetch/cache_object.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "fetch/cache_eviction.h"

namespace layerfs {
namespace {

// Byte of a partial file that is locked by who changes its footer; far behind any content.
constexpr LockRange kMarking{uint64_t{1} << 62, 1};
// How often an opener starts again because the file was evicted or promoted under its hands. Each
// turn means that another process made a step.
constexpr int kOpenAttempts = 16;
// The time of last use is kept this exactly, so that opening rarely writes to the inode.
constexpr time_t kUseGranularitySeconds = 600;
constexpr size_t kCheckBytes = size_t{1} << 20;

Result<struct stat> StatOf(int fd) {
  struct stat attributes;
  if (::fstat(fd, &attributes) != 0) return FailErrno("fstat", errno);
  return attributes;
}

void NoteUse(int fd, const struct stat& attributes) {
  struct timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const time_t last = std::max(attributes.st_atim.tv_sec, attributes.st_mtim.tv_sec);
  if (now.tv_sec - last < kUseGranularitySeconds) return;
  const struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  ::futimens(fd, times);
}

int64_t ModifiedNs(const struct stat& attributes) {
  return int64_t{attributes.st_mtim.tv_sec} * 1'000'000'000 + attributes.st_mtim.tv_nsec;
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

Status DiskObject::OpenExisting() {
  const std::lock_guard lock(mutex_);
  return OpenExistingLocked();
}

Status DiskObject::OpenExistingLocked() {
  for (int attempt = 0; attempt < kOpenAttempts && fd_.load() < 0; ++attempt) {
    Status opened = OpenWholeLocked();
    if (opened.has_value()) return {};
    if (opened.error().code == ErrorCode::kBusy) continue;
    if (opened.error().code != ErrorCode::kNotFound) return opened;
    opened = OpenPartialLocked(/*create=*/false);
    if (opened.has_value()) return {};
    if (opened.error().code == ErrorCode::kBusy) continue;
    if (opened.error().code == ErrorCode::kNotFound) return {};
    return opened;
  }
  return {};
}

// kNotFound when there is none, kBusy when it was being evicted.
Status DiskObject::OpenWholeLocked() {
  const CacheDirectory& directory = *state_->directory;
  LAYERFS_TRY(file, directory.OpenAt(WholeObjectName(id_.digest), O_RDONLY));
  LAYERFS_CHECK_OK(MarkInUse(file.get()));
  LAYERFS_TRY(attributes, StatOf(file.get()));
  if (attributes.st_nlink == 0) return Fail(ErrorCode::kBusy, "evicted");
  if (static_cast<uint64_t>(attributes.st_size) != id_.size) {
    // Torn by a crash of the machine.
    if (!directory.read_only()) {
      ::unlinkat(directory.fd(), WholeObjectName(id_.digest).c_str(), 0);
    }
    return Fail(ErrorCode::kNotFound, "torn");
  }
  if (!directory.read_only()) NoteUse(file.get(), attributes);
  SetFdLocked(std::move(file));
  whole_.store(true);
  return {};
}

Status DiskObject::OpenPartialLocked(bool create) {
  const CacheDirectory& directory = *state_->directory;
  const int flags = directory.read_only() ? O_RDONLY : O_RDWR | (create ? O_CREAT : 0);
  LAYERFS_TRY(file, directory.OpenAt(PartialObjectName(id_), flags));
  LAYERFS_CHECK_OK(MarkInUse(file.get()));
  LAYERFS_TRY(attributes, StatOf(file.get()));
  if (attributes.st_nlink == 0) return Fail(ErrorCode::kBusy, "evicted");
  if (directory.read_only()) {
    if (!PageMap::IsFormatted(file.get(), id_.size)) return Fail(ErrorCode::kNotFound, "no map");
    return UsePartialLocked(std::move(file));
  }
  const ScopedRangeLock marking(file.get(), kMarking);
  LAYERFS_CHECK_OK(marking.status());
  LAYERFS_TRY(locked_attributes, StatOf(file.get()));
  const bool fresh = locked_attributes.st_size == 0;
  if (!fresh && ModifiedNs(locked_attributes) <= directory.suspect_before_ns()) {
    ::unlinkat(directory.fd(), PartialObjectName(id_).c_str(), 0);
    return Fail(ErrorCode::kBusy, "left by a crash of the machine");
  }
  if (static_cast<uint64_t>(locked_attributes.st_size) == id_.size && id_.size > 0) {
    // Complete; whoever completed it did not come to rename it, or is about to.
    SetFdLocked(std::move(file));
    PromoteLocked();
    return {};
  }
  if (!PageMap::IsFormatted(file.get(), id_.size)) {
    if (!fresh &&
        PageMap::FileBytes(id_.size) != static_cast<uint64_t>(locked_attributes.st_size)) {
      ::unlinkat(directory.fd(), PartialObjectName(id_).c_str(), 0);
      return Fail(ErrorCode::kBusy, "not a partial object");
    }
    // Left by a process that died before it wrote anything, or new.
    if (!create) return Fail(ErrorCode::kNotFound, "empty");
    LAYERFS_CHECK_OK(PageMap::Format(file.get(), id_.size));
  }
  return UsePartialLocked(std::move(file));
}

Status DiskObject::UsePartialLocked(UniqueFd file) {
  map_owner_ = std::make_unique<PageMap>(id_.size);
  LAYERFS_CHECK_OK(map_owner_->LoadAll(file.get()));
  SetFdLocked(std::move(file));
  map_.store(map_owner_.get());
  return {};
}

void DiskObject::SetFdLocked(UniqueFd file) {
  file_ = std::move(file);
  fd_.store(file_.get());
}

bool DiskObject::Covers(uint64_t offset, uint64_t size) const {
  if (whole_.load()) return true;
  const PageMap* map = map_.load();
  return map != nullptr && map->Covers(PagesOf(offset, size));
}

bool DiskObject::Contains(uint64_t offset, uint64_t size) const {
  if (!RangeFits(offset, size, id_.size)) return false;
  if (Covers(offset, size)) return true;
  // What this process knows of the disk is a cache of it; const for the caller.
  const_cast<DiskObject*>(this)->Refresh(PagesOf(offset, size));
  return Covers(offset, size);
}

void DiskObject::Refresh(PageRange pages) {
  const std::lock_guard lock(mutex_);
  if (whole_.load()) return;
  if (fd_.load() < 0) {
    // What cannot be opened is not contained.
    static_cast<void>(OpenExistingLocked());
    return;
  }
  const Result<uint64_t> size = FileSize(fd_.load());
  if (size.has_value() && *size == id_.size) {
    whole_.store(true);
  } else if (map_owner_ != nullptr) {
    static_cast<void>(map_owner_->Load(fd_.load(), pages));
  }
}

Status DiskObject::Read(uint64_t offset, MutableByteSpan out) const {
  if (!Contains(offset, out.size())) {
    return Fail(Describe(Error{ErrorCode::kNotFound, "range is not in the cache", false, 0}));
  }
  if (out.empty()) return {};
  Status read = ReadFullAt(fd_.load(), offset, out);
  if (!read.has_value()) return Fail(Describe(std::move(read).error()));
  return {};
}

Status DiskObject::Write(uint64_t offset, ByteSpan data) {
  const bool to_the_end =
      RangeFits(offset, data.size(), id_.size) && offset + data.size() == id_.size;
  if (!RangeFits(offset, data.size(), id_.size) || offset % kCachePageBytes != 0 ||
      (data.size() % kCachePageBytes != 0 && !to_the_end)) {
    return Fail(
        Describe(Error{ErrorCode::kInvalidArgument, "write is not of whole pages", false, 0}));
  }
  if (whole_.load() || data.empty()) return {};
  Status written;
  if (data.size() == id_.size && fd_.load() < 0) {
    if (Digest::Of(data) != id_.digest) {
      return Fail(Describe(
          Error{ErrorCode::kDigestMismatch, "content is not what it should be", false, 0}));
    }
    return WriteWhole(data);
  }
  if (state_->directory->read_only()) {
    written = Fail(ErrorCode::kPermission, "the cache is read-only");
  } else {
    state_->directory->MarkWritten();
    written = WithRoomFor(*state_, data.size(), [&] { return WritePartial(offset, data); });
  }
  if (!written.has_value()) return Fail(Describe(std::move(written).error()));
  return {};
}

Status DiskObject::WritePartial(uint64_t offset, ByteSpan data) {
  {
    const std::lock_guard lock(mutex_);
    LAYERFS_CHECK_OK(OpenExistingLocked());
    for (int attempt = 0; fd_.load() < 0; ++attempt) {
      Status opened = OpenPartialLocked(/*create=*/true);
      if (opened.has_value()) break;
      if (opened.error().code != ErrorCode::kBusy || attempt >= kOpenAttempts) return opened;
    }
  }
  if (whole_.load()) return {};
  LAYERFS_CHECK_OK(WriteFullAt(fd_.load(), offset, data));
  LAYERFS_TRY(full, Mark(PagesOf(offset, data.size())));
  if (!full) return {};
  // Outside of the locks, because it takes a while: what is full does not change any more.
  LAYERFS_CHECK_OK(CheckContent(fd_.load()));
  return Complete();
}

// Whether every page is there now and nobody has completed the file yet.
Result<bool> DiskObject::Mark(PageRange pages) {
  const std::lock_guard lock(mutex_);
  if (whole_.load()) return false;
  const ScopedRangeLock marking(fd_.load(), kMarking);
  LAYERFS_CHECK_OK(marking.status());
  LAYERFS_TRY(size, FileSize(fd_.load()));
  if (size == id_.size) {
    whole_.store(true);
    return false;
  }
  LAYERFS_CHECK_OK(map_owner_->Mark(fd_.load(), pages));
  return map_owner_->IsFull(fd_.load());
}

// From the truncation on the footer is gone and the size says that the file is complete.
Status DiskObject::Complete() {
  const std::lock_guard lock(mutex_);
  const ScopedRangeLock marking(fd_.load(), kMarking);
  LAYERFS_CHECK_OK(marking.status());
  if (::ftruncate(fd_.load(), static_cast<off_t>(id_.size)) != 0) {
    return FailErrno("truncate", errno);
  }
  PromoteLocked();
  return {};
}

// The file is complete; gives it its final name. Where that fails, another process has done it, or
// the next who opens it will.
void DiskObject::PromoteLocked() {
  whole_.store(true);
  ::fchmod(fd_.load(), 0444);
  static_cast<void>(state_->directory->Rename(PartialObjectName(id_), WholeObjectName(id_.digest)));
}

// Every page has been verified by the word of the scope; whether they are the object is for the
// digest to say, before others get to see them.
Status DiskObject::CheckContent(int fd) const {
  Sha256 hasher;
  Bytes buffer(std::min<uint64_t>(kCheckBytes, id_.size));
  for (uint64_t offset = 0; offset < id_.size; offset += buffer.size()) {
    const MutableByteSpan part(buffer.data(), std::min<uint64_t>(buffer.size(), id_.size - offset));
    LAYERFS_CHECK_OK(ReadFullAt(fd, offset, part));
    hasher.Update(part);
  }
  if (hasher.Finish() == id_.digest) return {};
  ::unlinkat(state_->directory->fd(), PartialObjectName(id_).c_str(), 0);
  return Fail(ErrorCode::kDigestMismatch, "the pages do not make up the content; dropped");
}

Status DiskObject::WriteWhole(ByteSpan data) {
  if (data.size() != id_.size) {
    return Fail(Describe(Error{ErrorCode::kInvalidArgument, "not the whole object", false, 0}));
  }
  if (whole_.load()) return {};
  if (state_->directory->read_only()) {
    return Fail(Describe(Error{ErrorCode::kPermission, "the cache is read-only", false, 0}));
  }
  state_->directory->MarkWritten();
  const std::string temporary = state_->directory->NewTemporaryName();
  Status written =
      WithRoomFor(*state_, data.size(), [&] { return WriteTemporary(temporary, data); });
  if (written.has_value()) {
    written = state_->directory->Rename(temporary, WholeObjectName(id_.digest));
  }
  if (!written.has_value()) {
    ::unlinkat(state_->directory->fd(), temporary.c_str(), 0);
    return Fail(Describe(std::move(written).error()));
  }
  const std::lock_guard lock(mutex_);
  if (fd_.load() < 0) return OpenExistingLocked();
  return {};
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

}  // namespace layerfs

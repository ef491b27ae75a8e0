// SPDX-License-Identifier: Apache-2.0
// DiskObject's opening: which file stands for the object, and how far it is to be believed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "fetch/cache_object.h"
#include "fetch/cache_object_lock.h"
#include "index/base/log.h"

namespace layerfs {
namespace {

// How often an opener starts again because the file was evicted or promoted under its hands. Each
// turn means that another process made a step.
constexpr int kOpenAttempts = 16;
// The time of last use is kept this exactly, so that opening rarely writes to the inode.
constexpr time_t kUseGranularitySeconds = 600;
// Up to this size content that is to be verified is hashed as it is opened; larger objects are
// verified chunk by chunk as they are read.
constexpr uint64_t kVerifyAtOnceBytes = uint64_t{1} << 20;
// An object that is one chunk is hashed whenever it is opened, up to this size, which takes a tenth
// of a millisecond: segments of chunk tables are such, and what has rotted in one of them looks
// like wrong bytes of a registry for ever.
constexpr uint64_t kVerifyAlwaysBytes = uint64_t{128} << 10;

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

bool IsSuspect(const CacheState& state, const struct stat& attributes) {
  return state.options.verify != VerifyCache::kNever &&
         ModifiedNs(attributes) <= state.directory->suspect_before_ns();
}

}  // namespace

Status DiskObject::OpenExisting() {
  const std::lock_guard lock(mutex_);
  return OpenExistingLocked();
}

Status DiskObject::OpenExistingLocked(Trust trust) {
  if (discarded_for_good_) return {};
  for (int attempt = 0; attempt < kOpenAttempts && current_.load() == nullptr; ++attempt) {
    Status opened = OpenWholeLocked(trust);
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

Status DiskObject::EnsureFile() {
  const std::lock_guard lock(mutex_);
  LAYERFS_CHECK_OK(OpenExistingLocked());
  for (int attempt = 0; current_.load() == nullptr; ++attempt) {
    Status opened = OpenPartialLocked(/*create=*/true);
    if (opened.has_value()) break;
    if (opened.error().code != ErrorCode::kBusy || attempt >= kOpenAttempts) return opened;
  }
  return {};
}

// kNotFound when there is none, kBusy when it was being evicted.
Status DiskObject::OpenWholeLocked(Trust trust) {
  const CacheDirectory& directory = *state_->directory;
  LAYERFS_TRY(file, directory.OpenAt(WholeObjectName(id_.digest), O_RDONLY));
  LAYERFS_CHECK_OK(MarkInUse(file.get()));
  LAYERFS_TRY(attributes, StatOf(file.get()));
  if (attributes.st_nlink == 0) return Fail(ErrorCode::kBusy, "evicted");
  if (static_cast<uint64_t>(attributes.st_size) != id_.size) {
    // Torn by a crash of the machine.
    if (!directory.read_only()) UnlinkIfOurs(WholeObjectName(id_.digest), file.get());
    return Fail(ErrorCode::kNotFound, "torn");
  }
  if (!directory.read_only()) NoteUse(file.get(), attributes);
  const bool suspect = IsSuspect(*state_, attributes);
  const bool small_chunk = id_.scope == Digest{} && id_.size <= kVerifyAlwaysBytes &&
                           state_->options.verify != VerifyCache::kNever;
  const bool verify = trust == Trust::kByPolicy &&
                      (suspect || small_chunk || state_->options.verify == VerifyCache::kAlways);
  if (verify && id_.size <= kVerifyAtOnceBytes) {
    const Status checked = CheckContent(file.get());
    if (!checked.has_value()) {
      LogWarning(Describe(checked.error()).context + "; it is dropped and fetched again");
      UnlinkIfOurs(WholeObjectName(id_.digest), file.get());
      discarded_for_good_ = directory.read_only();
      return Fail(ErrorCode::kNotFound, "damaged");
    }
    if (suspect && !directory.read_only()) NoteVerified(file.get());
  }
  OpenedFile& opened = UseLocked(std::move(file));
  if (verify && id_.size > kVerifyAtOnceBytes) {
    opened.verified = std::make_unique<PageMap>(id_.size);
  } else {
    whole_.store(true);
  }
  current_.store(&opened);
  return {};
}

Status DiskObject::OpenPartialLocked(bool create) {
  const CacheDirectory& directory = *state_->directory;
  const std::string name = PartialObjectName(id_);
  const int flags = directory.read_only() ? O_RDONLY : O_RDWR | (create ? O_CREAT : 0);
  LAYERFS_TRY(file, directory.OpenAt(name, flags));
  LAYERFS_CHECK_OK(MarkInUse(file.get()));
  LAYERFS_TRY(attributes, StatOf(file.get()));
  if (attributes.st_nlink == 0) return Fail(ErrorCode::kBusy, "evicted");
  if (directory.read_only()) {
    const bool usable =
        !IsSuspect(*state_, attributes) && PageMap::IsFormatted(file.get(), id_.size);
    if (!usable) return Fail(ErrorCode::kNotFound, "no map");
    return UsePartialLocked(std::move(file));
  }
  const ScopedRangeLock marking(file.get(), kMarkingLock);
  LAYERFS_CHECK_OK(marking.status());
  LAYERFS_TRY(locked_attributes, StatOf(file.get()));
  const auto file_bytes = static_cast<uint64_t>(locked_attributes.st_size);
  if (file_bytes != 0 && IsSuspect(*state_, locked_attributes)) {
    UnlinkIfOurs(name, file.get());
    return Fail(ErrorCode::kBusy, "left by a crash of the machine");
  }
  if (file_bytes == id_.size && id_.size > 0) {
    // Complete; whoever completed it did not come to rename it, or is about to.
    current_.store(&UseLocked(std::move(file)));
    PromoteLocked();
    return {};
  }
  if (!PageMap::IsFormatted(file.get(), id_.size)) {
    if (file_bytes != 0 && PageMap::FileBytes(id_.size) != file_bytes) {
      UnlinkIfOurs(name, file.get());
      return Fail(ErrorCode::kBusy, "not a partial object");
    }
    // Left by a process that died before it wrote anything, or new.
    if (!create) return Fail(ErrorCode::kNotFound, "empty");
    LAYERFS_CHECK_OK(PageMap::Format(file.get(), id_.size));
  }
  return UsePartialLocked(std::move(file));
}

Status DiskObject::UsePartialLocked(UniqueFd file) {
  auto on_disk = std::make_unique<PageMap>(id_.size);
  LAYERFS_CHECK_OK(on_disk->LoadAll(file.get()));
  OpenedFile& opened = UseLocked(std::move(file));
  opened.on_disk = std::move(on_disk);
  // Whoever brought the last page did not come to finish it.
  const bool full = opened.on_disk->IsFullInMemory();
  unfinished_.store(full && !state_->directory->read_only());
  if (state_->options.verify == VerifyCache::kAlways) {
    opened.verified = std::make_unique<PageMap>(id_.size);
  }
  current_.store(&opened);
  return {};
}

DiskObject::OpenedFile& DiskObject::UseLocked(UniqueFd file) {
  files_.push_back(std::make_unique<OpenedFile>());
  files_.back()->file = std::move(file);
  return *files_.back();
}

bool DiskObject::OpenedFile::Trusts(PageRange pages) const {
  if (verified != nullptr) return verified->Covers(pages);
  return on_disk != nullptr && on_disk->Covers(pages);
}

bool DiskObject::Covers(PageRange pages) const {
  if (whole_.load()) return true;
  const OpenedFile* opened = current_.load();
  return opened != nullptr && opened->Trusts(pages);
}

void DiskObject::Refresh(PageRange pages) {
  const std::lock_guard lock(mutex_);
  if (whole_.load()) return;
  const OpenedFile* opened = current_.load();
  if (opened == nullptr) {
    // What cannot be opened is not contained.
    static_cast<void>(OpenExistingLocked());
    return;
  }
  if (opened->on_disk == nullptr) return;
  const Result<uint64_t> size = FileSize(opened->file.get());
  if (size.has_value() && *size == id_.size) {
    // Whoever completed it has just checked all of it.
    whole_.store(true);
  } else {
    static_cast<void>(opened->on_disk->Load(opened->file.get(), pages));
  }
}

void DiskObject::UnlinkIfOurs(const std::string& name, int fd) const {
  const int directory = state_->directory->fd();
  struct stat opened;
  struct stat named;
  if (!state_->directory->read_only() && ::fstat(fd, &opened) == 0 &&
      ::fstatat(directory, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
      opened.st_ino == named.st_ino) {
    ::unlinkat(directory, name.c_str(), 0);
  }
}

}  // namespace layerfs

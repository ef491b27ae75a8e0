// SPDX-License-Identifier: Apache-2.0
// DiskObject: an object of the cache that is open in this process. It begins as a name without a
// file, becomes partial with the first page and whole with the last; another process may take
// each of these steps for it.
// Thread-safe.
//
// Invariants:
//   1. A file once opened stays open until the object is destroyed; only Discard puts another one
//      in its place.
//   2. Once whole, whole until a Discard.
//   3. Each file carries the in-use mark (cache_locks.h), so that nobody evicts it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "fetch/cache_page_map.h"
#include "fetch/cache_state.h"
#include "fetch/object_cache.h"
#include "index/base/file.h"

namespace layerfs {

class DiskObject final : public CachedObject {
 public:
  DiskObject(std::shared_ptr<CacheState> state, const ObjectId& id);
  ~DiskObject() override;

  // Opens what there is on disk; success when that is nothing.
  Status OpenExisting();

  const ObjectId& id() const override { return id_; }
  bool whole() const override { return whole_.load(); }
  bool Contains(uint64_t offset, uint64_t size) const override;
  Status Read(uint64_t offset, MutableByteSpan out) const override;
  Status Write(uint64_t offset, ByteSpan data) override;
  bool TakeUnfinished() override { return unfinished_.exchange(false); }
  Status Finish() override;
  Status WriteWhole(ByteSpan data) override;
  bool TryClaim(uint64_t offset, uint64_t size) override;
  void Unclaim(uint64_t offset, uint64_t size) override;
  bool HasCandidate(const Digest& chunk, uint64_t offset, uint64_t size) override;
  Result<SharedBytes> AdoptCandidate(const Digest& chunk, uint64_t offset, uint64_t size) override;
  void NoteChunk(const Digest& chunk, uint64_t offset, uint64_t size) override;
  void Discard() override;
  int fd() const override;

 private:
  // The object's file, while there is one.
  struct OpenedFile {
    UniqueFd file;
    // What the file's footer says; null for a file that was complete when it was opened.
    std::unique_ptr<PageMap> on_disk;
    // What this process has verified; null where it takes the disk's word.
    std::unique_ptr<PageMap> verified;
    bool Trusts(PageRange pages) const;
  };
  // Bytes of another file that are those to be written.
  struct CopySource {
    int fd = -1;
    uint64_t offset = 0;
  };
  enum class Trust { kByPolicy, kFully };

  // Opening: cache_object_open.cc.
  Status OpenExistingLocked(Trust trust = Trust::kByPolicy);
  Status OpenWholeLocked(Trust trust);
  Status OpenPartialLocked(bool create);
  Status UsePartialLocked(UniqueFd file);
  OpenedFile& UseLocked(UniqueFd file);
  Status EnsureFile();
  bool Covers(PageRange pages) const;
  // Looks on disk for what other processes did since.
  void Refresh(PageRange pages);

  Status Store(uint64_t offset, ByteSpan data, const CopySource& copy);
  Status WritePartial(uint64_t offset, ByteSpan data, const CopySource& copy);
  void NoteKeeping(const Status& written) const;
  Status WriteTemporary(const std::string& name, ByteSpan data) const;
  Result<bool> Mark(std::optional<PageRange> pages);
  Status Complete();
  void PromoteLocked();
  Status CheckContent(int fd) const;
  Error Describe(Error error) const;
  Error Describe(ErrorCode code, const char* what) const;

  // Verifying and reuse: cache_object_verify.cc.
  bool HasUnverified(uint64_t offset, uint64_t size);
  Result<SharedBytes> VerifyOwn(const Digest& chunk, uint64_t offset, uint64_t size);
  Result<SharedBytes> AdoptFrom(const ChunkLocation& location, const Digest& chunk, uint64_t offset,
                                uint64_t size);
  void UnlinkIfOurs(const std::string& name, int fd) const;

  const std::shared_ptr<CacheState> state_;
  const ObjectId id_;
  std::atomic<OpenedFile*> current_{nullptr};  // one of files_
  std::atomic<bool> whole_{false};
  std::atomic<bool> unfinished_{false};
  // Lets one thread at a time hash all of it; taken before mutex_.
  std::mutex finishing_;
  // Serializes this process's threads in what the lock on the footer serializes among processes:
  // opening, marking and promoting. Held across small I/Os on pages of the page cache.
  std::mutex mutex_;
  std::vector<std::unique_ptr<OpenedFile>> files_;
  bool discarded_for_good_ = false;  // damaged, in a cache that we cannot change
};

}  // namespace layerfs

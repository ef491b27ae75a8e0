// SPDX-License-Identifier: Apache-2.0
// DiskObject: an object of the cache that is open in this process. It begins as a name without a
// file, becomes partial with the first page and whole with the last; another process may take
// each of these steps for it.
// Thread-safe.
//
// Invariants:
//   1. The descriptor is set once and stays valid and the same until the object is destroyed.
//   2. Once whole, always whole.
//   3. The descriptor carries the in-use mark (cache_locks.h), so that nobody evicts the file.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

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
  Status WriteWhole(ByteSpan data) override;
  bool TryClaim(uint64_t offset, uint64_t size) override;
  void Unclaim(uint64_t offset, uint64_t size) override;
  int fd() const override { return fd_.load(); }

 private:
  bool Covers(uint64_t offset, uint64_t size) const;
  // Looks on disk for what other processes did since.
  void Refresh(PageRange pages);
  Status OpenExistingLocked();
  Status OpenWholeLocked();
  Status OpenPartialLocked(bool create);
  Status UsePartialLocked(UniqueFd file);
  void SetFdLocked(UniqueFd file);
  Result<bool> Mark(PageRange pages);
  Status Complete();
  void PromoteLocked();
  Status WritePartial(uint64_t offset, ByteSpan data);
  Status CheckContent(int fd) const;
  Status WriteTemporary(const std::string& name, ByteSpan data) const;
  Error Describe(Error error) const;

  const std::shared_ptr<CacheState> state_;
  const ObjectId id_;
  std::atomic<int> fd_{-1};
  std::atomic<bool> whole_{false};
  std::atomic<PageMap*> map_{nullptr};  // of map_owner_, once it is loaded
  // Serializes this process's threads in what the lock on kMarking serializes among processes:
  // opening, marking and promoting. Held across small I/Os on pages of the page cache.
  std::mutex mutex_;
  UniqueFd file_;
  std::unique_ptr<PageMap> map_owner_;
};

}  // namespace layerfs

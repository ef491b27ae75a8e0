// SPDX-License-Identifier: Apache-2.0
// CacheDirectory: the cache's directory on disk (CACHE.md): who owns it, its version, whether the
// machine went down under it, and the names in it.
// Immutable after Open but for the marks of use; thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "fetch/cache_locks.h"
#include "fetch/object_cache.h"
#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

// What the bytes of the file `lock` stand for.
namespace cache_lock {
inline constexpr LockRange kOpening{0, 1};
inline constexpr LockRange kInUse{1, 1};
inline constexpr LockRange kUsage{2, 1};
inline constexpr LockRange kEvicting{3, 1};
inline constexpr uint64_t kClaims = uint64_t{1} << 62;  // cache_claims.h
}  // namespace cache_lock

// "objects/ab/<hex>", "partial/ab/<hex>".
std::string WholeObjectName(const Digest& digest);
std::string PartialObjectName(const ObjectId& id);
// The digest that names a partial object.
Digest PartialObjectKey(const ObjectId& id);
std::string PartialObjectName(const Digest& key);

class CacheDirectory {
 public:
  struct Options {
    std::string path;
    bool read_only = false;
  };
  // kPermission for a directory of another user or one that others can write to; kUnsupported for
  // another version; kInvalidArgument for a directory that holds something else.
  static Result<std::unique_ptr<CacheDirectory>> Open(Options options);
  // The last user to leave a directory that was written to syncs it and marks it clean.
  ~CacheDirectory();
  CacheDirectory(const CacheDirectory&) = delete;
  CacheDirectory& operator=(const CacheDirectory&) = delete;

  const std::string& path() const { return path_; }
  int fd() const { return root_.get(); }
  int lock_fd() const { return lock_.get(); }  // -1 where there is none to be had
  bool read_only() const { return read_only_; }
  // Files not changed since this time (CLOCK_REALTIME) may have been torn by a crash of the
  // machine.
  int64_t suspect_before_ns() const { return suspect_before_ns_; }

  // Before the first change in this process.
  void MarkWritten();
  // A name under tmp/ that nobody else has.
  std::string NewTemporaryName() const;
  // open(2) of a plain file under the directory, or of a directory with O_DIRECTORY; never waits
  // and follows no link. With O_CREAT the parent is made where it is missing. What is no file is
  // cleared away, and is kNotFound without O_CREAT.
  Result<UniqueFd> OpenAt(const std::string& name, int flags, mode_t mode = 0600) const;
  // The whole file; kTooLarge beyond `limit` bytes.
  Result<Bytes> ReadAt(const std::string& name, uint64_t limit) const;
  // Renames within the directory; the target's parent is made where it is missing, and what is no
  // file is cleared away from under its name.
  Status Rename(const std::string& from, const std::string& to) const;

 private:
  explicit CacheDirectory(Options options);
  Status CheckOwner() const;
  Status Prepare();
  // Whether the directory has just become a cache.
  Result<bool> CheckVersion();
  Status NoteBoot(bool is_new);
  // Takes what is no file, and cannot be one of ours, from under its name.
  Status ClearAway(const std::string& name) const;
  void MakeParent(const std::string& name) const;
  void EndTimesAt(int64_t now_ns) const;
  void RemoveOldTemporaries() const;

  std::string path_;
  bool read_only_;
  UniqueFd root_;
  UniqueFd lock_;
  int64_t suspect_before_ns_ = 0;
  std::atomic<bool> written_{false};
};

}  // namespace layerfs

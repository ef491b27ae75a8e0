// SPDX-License-Identifier: Apache-2.0
// ObjectCache: verified content on the local disk, by digest, shared by all mounts and processes
// that use one directory. An object is a file's whole content or a chunk that small files share;
// it may be there in part, known by 4 KiB page.
// Thread-safe and process-safe. kill -9 at any moment loses at most what was being written. The
// directory's layout is described in CACHE.md.
//
// Invariants:
//   1. A page marked present holds verified bytes: bytes first, then the mark.
//   2. A whole object is a plain read-only file under its final name, which appears by rename.
//   3. An object that is open in any process is not evicted, but for those that this process only
//      keeps open (OpenKept).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

inline constexpr uint64_t kCachePageBytes = 4096;
// Hashing more than this takes longer than whoever waits for the last chunk should.
inline constexpr uint64_t kFinishAtOnceBytes = uint64_t{4} << 20;

struct ObjectId {
  Digest digest;
  uint64_t size = 0;
  // Whose word it is that the pages written are this object's: an index can claim any digest for a
  // file, and only the whole content proves it. A partial object is therefore shared only among
  // handles with one scope (the digest of the tree or index that names the chunks); a whole one,
  // whose digest has been checked, is shared by all. Zero where digest covers each Write by itself
  // (an object that is one chunk).
  Digest scope;
  bool operator==(const ObjectId&) const = default;
};

class CachedObject;
struct CacheState;

struct CacheStatistics {
  uint64_t whole_objects = 0;
  uint64_t partial_objects = 0;
  uint64_t bytes = 0;        // disk space used by objects
  uint64_t limit_bytes = 0;  // 0: none
  uint64_t documents = 0;
  uint64_t pinned_objects = 0;  // of those that are there
};

// Which content is checked against its digests again before this process first uses it.
enum class VerifyCache {
  kAlways,
  kUnclean,  // what a crash of the machine may have torn
  kNever,
};

class ObjectCache {
 public:
  struct Options {
    std::string directory;     // made where missing, mode 0700
    uint64_t limit_bytes = 0;  // 0: no limit but the disk's
    bool read_only = false;    // uses what is there; writes are kPermission
    VerifyCache verify = VerifyCache::kUnclean;
  };
  static Result<std::shared_ptr<ObjectCache>> Open(Options options);
  ~ObjectCache();

  // The object, opened or (empty) made; handles of one process to one object share one descriptor.
  // Never touches a network, and makes no file before the first Write. kTooLarge beyond 1 TiB.
  Result<std::shared_ptr<CachedObject>> OpenObject(const ObjectId& id);
  // As OpenObject; it stays open for a while, so that the next who wants it finds it so. Of those
  // of all mounts of the process that was used longest ago is let go where there are many, by an
  // eighth of the descriptors that the process may have, or where the cache needs room.
  Result<std::shared_ptr<CachedObject>> OpenKept(const ObjectId& id);
  // Lets go of all those, so that other processes can evict them.
  void CloseKept();
  // Only when it is there in whole, and verified where Options::verify wants that.
  std::shared_ptr<CachedObject> FindWhole(const ObjectId& id);

  // Small named documents: manifests, trees, tags. Written atomically; read whole or mapped.
  Status WriteDocument(std::string_view name, ByteSpan data);
  Result<Bytes> ReadDocument(std::string_view name, uint64_t limit) const;
  Result<MappedFile> MapDocument(std::string_view name) const;
  // "DIRECTORY/NAME" of each document in a directory of documents.
  std::vector<std::string> ListDocuments(std::string_view directory) const;
  Status RemoveDocument(std::string_view name);
  // Where a document lies, for a tool that wants its path.
  std::string DocumentPath(std::string_view name) const;

  Result<CacheStatistics> Statistics() const;
  // The digests of the objects that are on disk in whole, whether verified in this process or not.
  Result<std::unordered_set<Digest>> WholeObjects() const;
  // Whether `bytes` more fit, into the limit and on the disk, without evicting anything.
  bool HasRoomFor(uint64_t bytes) const;
  // As HasRoomFor, but evicts for them what nobody has open, no pin names and was last used before
  // `unused_since_ns`.
  bool MakeRoomFor(uint64_t bytes, int64_t unused_since_ns);
  // Now, on the clock that uses are noted by: the file system's.
  int64_t UseTimeNs() const;
  // Those of `objects` that are there count as used now, however lately they were used before.
  void NoteUse(std::span<const ObjectId> objects);
  uint64_t limit_bytes() const;  // 0: none
  // What its objects can take at the most: those that are there and what the disk has left, within
  // the limit.
  Result<uint64_t> MostBytes() const;
  bool read_only() const;
  // Whether it has kept what was written lately. Where it has not (a full or failing disk, a limit
  // that is in use, a read-only cache), what nobody waits for is fetched in vain. It has again with
  // the next write that succeeds, or once there is room under the limit for what it has refused.
  bool keeps() const;
  // Evicts least recently used objects that nobody uses, until at most `target_bytes` are used.
  // Returns the bytes freed.
  Result<uint64_t> Prune(uint64_t target_bytes);

  // A named set of objects that are not evicted until Unpin, whether they are there yet or not;
  // replaces the set of that name. Survives a power cut.
  Status Pin(std::string_view name, std::span<const ObjectId> objects);
  Status Unpin(std::string_view name);  // kNotFound where there is none of that name
  Result<std::vector<std::string>> Pins() const;

 private:
  explicit ObjectCache(std::shared_ptr<CacheState> state);
  // Shared with the objects, which may outlive the cache.
  std::shared_ptr<CacheState> state_;
};

class CachedObject {
 public:
  virtual ~CachedObject() = default;
  virtual const ObjectId& id() const = 0;
  virtual bool whole() const = 0;
  // Whether every page of [offset, offset + size) is present.
  virtual bool Contains(uint64_t offset, uint64_t size) const = 0;
  // Reads exactly out.size() bytes; the range must be contained.
  virtual Status Read(uint64_t offset, MutableByteSpan out) const = 0;
  // Verified bytes. A page is marked present when the object has all of it: `offset` is a multiple
  // of kCachePageBytes, and so is the end unless it is the object's. The object becomes whole with
  // its last page: by itself, or, where it is larger than kFinishAtOnceBytes, by Finish. The
  // content is then checked against id().digest: kDigestMismatch, and nothing of it kept, where
  // the writers were lied to. kNoSpace/kIo when the disk does not take it, kPermission in a
  // read-only cache; what was there before stays usable.
  virtual Status Write(uint64_t offset, ByteSpan data) = 0;
  // True for one caller: every page is there, and Finish is left to do.
  virtual bool TakeUnfinished() = 0;
  // Hashes all of an object whose every page is there, and makes it whole; waits for another thread
  // that is at it. Nothing to do is a success.
  virtual Status Finish() = 0;
  // The whole object at once, where the caller has checked `data` against id().digest already.
  virtual Status WriteWhole(ByteSpan data) = 0;
  // Claims the fetching of [offset, offset + size) among processes: true when this process is to
  // fetch it, false when another one does at this moment (ask again, or watch Contains). Ends
  // with Unclaim or the process.
  virtual bool TryClaim(uint64_t offset, uint64_t size) = 0;
  virtual void Unclaim(uint64_t offset, uint64_t size) = 0;
  // Whether there may be bytes at hand that could be the chunk [offset, offset + size): this
  // object's own, not yet verified (Options::verify), or those of another object that holds a
  // chunk of this digest.
  virtual bool HasCandidate(const Digest& chunk, uint64_t offset, uint64_t size) = 0;
  // Verifies them and takes them over, as if written (a reflink where the file system can). An
  // error where they are not the chunk; they are not a candidate any more then. Damaged bytes of
  // this object are dropped, with a line in the log.
  virtual Result<SharedBytes> AdoptCandidate(const Digest& chunk, uint64_t offset,
                                             uint64_t size) = 0;
  // Remembers that the chunk lies here, for other objects.
  virtual void NoteChunk(const Digest& chunk, uint64_t offset, uint64_t size) = 0;
  // What the disk holds of it cannot be read or is wrong: drops it, and begins anew.
  virtual void Discard() = 0;
  // A descriptor for reading (passthrough, splice); owned by the object and valid as long as it.
  // -1 while nothing of the object is there; the same until a Discard.
  virtual int fd() const = 0;
};

}  // namespace layerfs

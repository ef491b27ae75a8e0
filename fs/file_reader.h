// SPDX-License-Identifier: Apache-2.0
// FileReader: the bytes of an image's regular files, from the cache or the network. What the cache
// has is answered at once; everything else is answered later, without a thread that waits.
// Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "fetch/object_cache.h"
#include "fetch/scheduler.h"
#include "fs/image.h"
#include "fs/inode_paths.h"
#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"

namespace layerfs {

// What became of one read, for those who watch (statistics, traces, the fill).
struct ReadReport {
  InodeNumber inode{0};
  uint64_t offset = 0;
  uint64_t size = 0;
  bool waited = false;  // something of it was not in the cache
  std::chrono::microseconds took{0};
  const Error* error = nullptr;  // null: it was answered with its bytes
};

class FileReader {
 public:
  struct Options {
    std::chrono::milliseconds timeout{60'000};     // per read, retries included
    FetchClass fetch_class = FetchClass::kDemand;  // of reads; lower where nobody waits for them
  };
  FileReader(std::shared_ptr<Image> image, const ImageContext& context, Options options);
  // As CancelAll.
  ~FileReader();

  using ReadId = uint64_t;
  // Announces a read, so that it can be cancelled before it begins: a Read with this id has to
  // follow.
  ReadId NewReadId();

  // The bytes of [offset, offset + size) that the file has: fewer than `size` only at its end.
  // `inode` must be a regular file. `done` is called exactly once, from inside Read or from
  // another thread; the bytes are valid during the call.
  using Done = std::function<void(Result<ByteSpan>)>;
  void Read(ReadId id, InodeNumber inode, uint64_t offset, size_t size, Done done);
  // The reader was interrupted: `done` gets kCancelled, at once or, where Read has not been called
  // yet, from inside it; what is being fetched is still kept. No-op for a read that has been
  // answered.
  void Cancel(ReadId id);
  // Reads that have not been answered end with kCancelled, and every answer has been given, before
  // it returns. Reads may not begin meanwhile.
  void CancelAll();
  // Those that have not been answered.
  size_t waiting_reads() const;
  // Is told of every read once it has been answered, from the thread that did; must not block.
  // Before the first read.
  using Observer = std::function<void(const ReadReport&)>;
  void AddObserver(Observer observer);
  // Is told of a read when it begins to wait, from its thread; must not block. Before the first
  // read.
  using OnWait = std::function<void(InodeNumber inode, uint64_t offset)>;
  void SetOnWait(OnWait waits);
  // Is told whenever WholeObject is asked for an object, as an observer is.
  void SetOnWholeObject(std::function<void()> asked);
  InodePaths& paths();
  // Fetches the chunks of a range into the cache, ahead of need; nobody is told how that went.
  // Nothing where the cache does not keep it.
  void Prefetch(InodeNumber inode, uint64_t offset, uint64_t size,
                FetchClass fetch_class = FetchClass::kPrefetch);
  // For tools; never on a FUSE thread.
  Result<Bytes> ReadAndWait(InodeNumber inode, uint64_t offset, size_t size);

  // The file as one whole cached object, for passthrough; null where it is not whole, is empty or
  // sparse, or shares an object with other files. Never waits.
  std::shared_ptr<CachedObject> WholeObject(InodeNumber inode);

  const Image& image() const { return *image_; }

 private:
  struct Impl;
  std::shared_ptr<Image> image_;
  std::atomic<ReadId> next_read_{1};
  std::shared_ptr<Impl> impl_;
};

}  // namespace layerfs

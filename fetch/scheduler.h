// SPDX-License-Identifier: Apache-2.0
// Scheduler: the one place of the process that decides what is fetched next. It knows each wanted
// chunk once (single flight), by class; joins neighbours into one range request; decompresses,
// verifies, puts into the cache, and completes the waiters. It logs what it gives up on (image,
// reader, blob, range and cause in one line): whoever gets the error need not.
// Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fetch/blob_source.h"
#include "fetch/clock.h"
#include "fetch/object_cache.h"
#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/chunk_ref.h"

namespace layerfs {

// A blob with the place it is read from. Made once per layer of a mounted image and shared.
struct SourceBlob {
  std::shared_ptr<BlobSource> source;
  Digest digest;
  uint64_t size = 0;
  std::string image;  // for messages
};

struct ChunkRequest {
  std::shared_ptr<const SourceBlob> blob;
  ChunkRef chunk;
  // Where the chunk's bytes belong: [object_offset, object_offset + chunk.size) of `object`. A null
  // object: not cached, only handed on (and held for the next who asks, where it is not for a
  // fill).
  std::shared_ptr<CachedObject> object;
  uint64_t object_offset = 0;
  FetchClass fetch_class = FetchClass::kDemand;
  // After this time the waiter gets kTimeout; the scheduler retries until then.
  std::chrono::milliseconds timeout{60'000};
  // Names the reader for messages: "file /usr/bin/python3". Either may be empty; `reader` is called
  // without a lock, when there is a failure to be told.
  std::string reason;
  std::function<std::string()> reader;
  // Who asked tells of a failure: it is not logged as well.
  bool is_told = false;
};

// Gets the chunk's verified bytes, or the error after the retries. Called once, from a thread of
// the scheduler, from inside Abandon or, where the cache has it already, from inside Fetch (which
// then returns 0). Must not block.
using ChunkDone = std::function<void(Result<SharedBytes>)>;

struct SchedulerStatistics {
  uint64_t requests = 0;  // range requests sent
  uint64_t retries = 0;
  uint64_t hedges = 0;           // requests sent again because the answer was slow to come
  uint64_t chunks = 0;           // that came over the link, verified
  uint64_t reused_chunks = 0;    // that the disk held already, somewhere
  uint64_t body_bytes = 0;       // that came over the link
  uint64_t class_bytes[4] = {};  // stored bytes of delivered chunks by FetchClass
  uint64_t errors = 0;           // waiters that got an error
  double round_trip_ms = 0;      // estimates of the link; 0: none yet
  double bytes_per_second = 0;
  std::string last_error;  // of the last transfer that failed; empty: none has
};

class Scheduler {
 public:
  struct Options {
    int workers = 2;                             // threads that decompress and verify
    uint64_t memory_bytes = uint64_t{64} << 20;  // on their way or not yet decompressed, at most
    Clock* clock = nullptr;                      // null: the steady clock
  };
  explicit Scheduler(Options options);
  // Outstanding requests end with kCancelled before it returns.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  using WaiterId = uint64_t;
  WaiterId Fetch(ChunkRequest request, ChunkDone done);
  // Several at once: neighbours among them can share a request from the first one on.
  struct Wanted {
    ChunkRequest request;
    ChunkDone done;
  };
  void FetchTogether(std::vector<Wanted> all);
  // The waiter no longer wants it: `done` gets kCancelled at once (unless it has been called); the
  // fetch itself goes on for the others and the cache.
  void Abandon(WaiterId waiter);
  // Fetch, waiting for the answer: for tools, never on a FUSE thread.
  Result<SharedBytes> FetchAndWait(ChunkRequest request);

  // Forgets the few chunks that it holds because the cache did not take them: nobody reads any
  // more.
  void ForgetUnkept();

  SchedulerStatistics Statistics() const;
  // Makes an object whole whose every page is there already, behind all that is fetched.
  void Finish(const std::shared_ptr<CachedObject>& object);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The scheduler's vocabulary: a waiter, a flight (one wanted chunk and all who wait for it), a
// transfer (one range request and the flights that it brings).
// Reached under the lock of the scheduler's core only, but where a member says otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fetch/clock.h"
#include "fetch/scheduler.h"

namespace layerfs {

struct FlightKey {
  Digest chunk;
  Digest object;  // zero: not cached
  Digest scope;
  uint64_t object_offset = 0;
  bool operator==(const FlightKey&) const = default;
};

struct FlightKeyHash {
  size_t operator()(const FlightKey& key) const noexcept {
    return std::hash<Digest>()(key.chunk) ^ std::hash<Digest>()(key.object) ^ key.object_offset;
  }
};

struct Waiter {
  Scheduler::WaiterId id = 0;
  ChunkDone done;
  TimePoint deadline;
  TimePoint last_deadline;  // however fast its bytes are arriving
  std::chrono::milliseconds timeout{0};
  std::string reason;
  std::function<std::string()> reader;
  bool is_told = false;  // see ChunkRequest
};

struct Flight {
  // Constant after it is made; read without the lock.
  FlightKey key;
  std::shared_ptr<const SourceBlob> blob;
  ChunkRef chunk;
  std::shared_ptr<CachedObject> object;
  uint64_t sequence = 0;

  std::vector<Waiter> waiters;
  FetchClass fetch_class = FetchClass::kFill;
  TimePoint deadline;          // the last waiter's
  std::optional<Error> error;  // of the last attempt
  int failures = 0;            // attempts in a row that brought nothing
  int mismatches = 0;
  TimePoint look_again = TimePoint::max();  // when its timer fires
  TimePoint retry_at;                       // while delayed
  TimePoint poll_at;                        // while elsewhere
  Duration poll_delay{0};

  // Where it is: in several places at once when it is asked for again (upgrade, hedge).
  bool queued = false;
  bool delayed = false;    // until retry_at
  bool elsewhere = false;  // another process fetches it
  bool polling = false;    // a look at the cache is under way
  bool decoding = false;
  bool done = false;
  bool hedged = false;  // asked for again while a transfer brings it too slowly
  int transfers = 0;
  uint64_t held_bytes = 0;  // in memory until decoded
  Bytes prefix;             // what a transfer that broke had brought of it
  TimePoint elsewhere_since;

  // Changed under the lock, read without it when the cache is asked.
  std::atomic<bool> claimed{false};
  std::atomic<bool> bypass_cache{false};  // the cache has it and cannot read it
  std::atomic<bool> impatient{false};     // the other process had its time: fetch without a claim

  uint64_t begin() const { return chunk.blob_offset; }
  uint64_t end() const { return chunk.blob_offset + chunk.stored_size; }
};
using FlightPointer = std::shared_ptr<Flight>;

struct Link;

struct TransferPart {
  FlightPointer flight;
  uint64_t offset = 0;  // in the transfer, of what is to come of it
  bool arrived = false;
  Bytes prefix;  // what is there already; while the transfer runs the source's thread's
};

struct Transfer {
  uint64_t id = 0;
  std::shared_ptr<Link> link;
  BlobRange range;
  FetchClass fetch_class = FetchClass::kFill;
  std::vector<TransferPart> parts;  // by offset; constant from Admit until it is done
  uint64_t held_bytes = 0;          // counted as in flight
  TimePoint started;
  uint64_t link_bytes_before = 0;
  std::optional<BlobSource::TransferId> source_id;
  bool cancelled = false;
  // When to look whether its flights are to be asked for again; it was, if `hedged`.
  TimePoint hedge_at = TimePoint::max();
  bool hedged = false;

  // Outside of the lock: the source's thread writes, others read.
  std::atomic<uint64_t> received{0};
  std::atomic<TimePoint> last_byte{TimePoint{}};
  std::atomic<bool> stop{false};
  // Outside of the lock: the source's thread only.
  size_t assembling = 0;
  Bytes buffer;
};
using TransferPointer = std::shared_ptr<Transfer>;

}  // namespace layerfs

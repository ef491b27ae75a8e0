// SPDX-License-Identifier: Apache-2.0
// SchedulerCore: what the scheduler knows and decides, without threads, I/O or a clock of its own.
// Each event goes in with its time; what is to be done about it comes out as Actions, which the
// caller carries out after it has let go of the core's lock.
// One thread at a time.
//
// Invariants:
//   1. A flight that is not done is queued, delayed, elsewhere, decoding or in a transfer.
//   2. Each waiter's `done` is in exactly one Actions.
//   3. Bytes held (from the start of a transfer until they are decoded) are at most
//      Limits::held_bytes, and half of that for all but demand, or one chunk; beside them what
//      broken transfers have left, less than a chunk each.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fetch/link_estimator.h"
#include "fetch/scheduler.h"
#include "fetch/scheduler_flight.h"
#include "fetch/scheduler_queue.h"

namespace layerfs {

// One source and the way to it.
struct Link {
  std::shared_ptr<BlobSource> source;
  LinkEstimator estimator;
  FlightQueue queue;
  int demand_transfers = 0;
  int low_transfers = 0;
  TimePoint demand_until{};  // a reader that has just got its bytes is likely to want more
  int failures = 0;          // transfers in a row that brought nothing
  TimePoint paused_until{};
  TimePoint demand_paused_until{};  // never after paused_until
  // Outside of the lock too: what came so far, and at how much of it there will be room for more.
  std::atomic<uint64_t> received{0};
  std::atomic<uint64_t> room_at{~uint64_t{0}};
};

struct Actions {
  struct Completion {
    ChunkDone done;
    Result<SharedBytes> result;
  };
  std::vector<Completion> completions;
  std::vector<FlightPointer> unclaim;  // release what they hold in the cache
  std::vector<FlightPointer> look;     // ask the cache, then OnLooked
  struct Cancellation {
    std::shared_ptr<BlobSource> source;
    BlobSource::TransferId transfer;
  };
  std::vector<Cancellation> cancel;
  // What goes into the log, once the lock is gone: the reader's name may take a while.
  struct Failure {
    std::shared_ptr<const SourceBlob> blob;
    std::string reason;
    std::function<std::string()> reader;
    Error error;  // names blob and range
  };
  std::vector<Failure> failures;
  // Whose bytes were wrong.
  struct Distrusted {
    std::shared_ptr<BlobSource> source;
    BlobRange range;
  };
  std::vector<Distrusted> distrusted;
};

// What the cache says about a chunk that is about to be fetched.
enum class CacheAnswer {
  kFetch,
  kElsewhere,  // another process is at it
  kPresent,
  kCandidate,  // there are bytes that may be it; claimed like kFetch
};

// A flight that is to be read from the disk.
struct AtHand {
  FlightPointer flight;
  bool candidate = false;
};

class SchedulerCore {
 public:
  struct Limits {
    uint64_t held_bytes = uint64_t{64} << 20;
    // Requests on their way over one link. A demand read waits for a place only behind so many
    // others; the rest leaves the link's window in fewer, larger pieces as far as the chunks allow.
    int demand_transfers = 32;
    int low_transfers = 16;
  };
  explicit SchedulerCore(Limits limits, uint64_t random_seed);

  // A new waiter; joins the flight that there is or makes one.
  Scheduler::WaiterId Submit(ChunkRequest request, ChunkDone done, TimePoint now);
  void Abandon(Scheduler::WaiterId waiter, Actions& actions);

  // The next transfer that may start, or null. Its flights count as being in it; the caller asks
  // the cache about each and goes on with Admit.
  TransferPointer Plan(TimePoint now);
  // `answers` by part. What is at hand or fetched elsewhere leaves the transfer; false when nothing
  // is left of it. Flights that are at hand go on in `at_hand`, as if decoding.
  bool Admit(const TransferPointer& transfer, const std::vector<CacheAnswer>& answers,
             std::vector<AtHand>& at_hand, TimePoint now, Actions& actions);
  // False when it was cancelled meanwhile: the caller cancels it at the source.
  bool OnStarted(const TransferPointer& transfer, BlobSource::TransferId source_id);

  // A part has arrived in whole: true when it is to be decoded.
  bool OnArrived(const TransferPointer& transfer, size_t part);
  void OnTransferDone(const TransferPointer& transfer, const TransferResult& result, TimePoint now,
                      Actions& actions);
  // The arrived bytes are decoded (and cached), or they are wrong.
  void OnDecoded(const FlightPointer& flight, Result<SharedBytes> result, TimePoint now,
                 Actions& actions);
  // As OnDecoded, for bytes that were at hand: what was wrong with them is no fault of the source.
  void OnRead(const AtHand& at_hand, Result<SharedBytes> result, TimePoint now, Actions& actions);
  // The answer to Actions::look. True when it is at hand: the caller reads it and tells by
  // OnDecoded.
  bool OnLooked(const FlightPointer& flight, CacheAnswer answer, TimePoint now, Actions& actions);

  void OnTimer(TimePoint now, Actions& actions);
  // When OnTimer or Plan has something to do next without an event.
  TimePoint NextWake(TimePoint now) const;

  // Ends every waiter with kCancelled and every transfer.
  void Stop(Actions& actions);
  bool idle() const { return transfers_.empty() && decoding_ == 0; }
  SchedulerStatistics Statistics() const;
  // Drops what is known of links that nobody uses any more; returns their sources, to be released
  // where a source may be destroyed.
  std::vector<std::shared_ptr<Link>> TakeUnusedLinks();

 private:
  std::shared_ptr<Link> LinkOf(const std::shared_ptr<BlobSource>& source);
  void AddWaiter(const FlightPointer& flight, Waiter waiter, FetchClass fetch_class);
  void Upgrade(const FlightPointer& flight, FetchClass fetch_class);
  bool IsNearArrival(const Flight* flight) const;
  void Enqueue(const FlightPointer& flight);
  void Delay(const FlightPointer& flight, TimePoint until);
  void SetTimer(const FlightPointer& flight);
  TransferPointer PlanOn(const std::shared_ptr<Link>& link, TimePoint now);
  static TimePoint SilentFrom(const Transfer& transfer);
  static bool IsSilent(const Transfer& transfer, TimePoint now);
  int SilentDemand(const Link& link, TimePoint now) const;
  uint64_t BytesOnTheWay(const Link& link, TimePoint now) const;
  TransferPointer MakeTransfer(const std::shared_ptr<Link>& link,
                               std::vector<FlightPointer> flights);
  void CancelUnwanted(const Flight* flight, Actions& actions);
  static bool KeepWhatCame(Transfer& transfer);
  void OnUndelivered(const FlightPointer& flight, const Error& error, bool progress, Link& link,
                     TimePoint now, Actions& actions);
  static void Cancel(Transfer& transfer, Actions& actions);
  void NoteClaim(const FlightPointer& flight, CacheAnswer answer, Actions& actions);
  void Succeed(const FlightPointer& flight, const SharedBytes& content, Actions& actions);
  void FailFlight(const FlightPointer& flight, const Error& error, Actions& actions);
  static void NoteFailure(const Flight& flight, const Waiter& waiter, const Error& cause,
                          Actions& actions);
  void Remove(const FlightPointer& flight, Actions& actions);
  void Hedge(TimePoint now);
  static Duration FirstBytePatience(const Link& link);
  TimePoint BodyDue(const Transfer& transfer, TimePoint now) const;
  void StartDecoding(const FlightPointer& flight, uint64_t held_bytes);
  void EndDecoding(const FlightPointer& flight);
  void Shape(Transfer& transfer);
  void Release(Transfer& transfer);
  std::string SilenceOf(const Flight* flight) const;
  void ExpireWaiters(const FlightPointer& flight, TimePoint now, Actions& actions);
  void ExtendWaiters(Flight& flight, TimePoint now) const;
  std::optional<Duration> TimeToArrive(const Flight& flight, TimePoint now) const;
  Duration Backoff(const Link& link, int failures);

  const Limits limits_;
  uint64_t random_;
  uint64_t next_id_ = 1;
  std::unordered_map<FlightKey, FlightPointer, FlightKeyHash> flights_;
  std::unordered_map<Scheduler::WaiterId, FlightPointer> waiters_;
  std::unordered_map<BlobSource*, std::shared_ptr<Link>> links_;
  std::unordered_map<uint64_t, TransferPointer> transfers_;
  std::set<std::pair<TimePoint, Flight*>> timers_;
  uint64_t held_bytes_ = 0;
  int decoding_ = 0;
  bool stopped_ = false;
  SchedulerStatistics statistics_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Waiters and flights: what is wanted, by whom, until when. The transfers that bring it are in
// scheduler_transfers.cc.
#include "fetch/scheduler_core.h"

#include <algorithm>

namespace layerfs {
namespace {

// A wrong digest is asked for again this often: a broken proxy may have a right copy behind it.
constexpr int kMaxMismatches = 3;
// Looking whether another process has fetched it by now: soon at first, at this pace in the end.
constexpr auto kFirstPoll = std::chrono::milliseconds(2);
constexpr auto kSlowestPoll = std::chrono::milliseconds(50);
// How long another process may take for one chunk before it is fetched here as well: it may be
// stopped, or have lost its network.
constexpr auto kPatience = std::chrono::seconds(3);
// When to look again after a flight that nobody waits for any more and that is being decompressed.
constexpr auto kDecodingTime = std::chrono::seconds(1);
// A read whose bytes are arriving when its time is over, at a rate that brings the rest soon, may
// take so many times its time. Bytes arrive while the last ones are no older than this.
constexpr int kLongestWait = 2;
constexpr auto kNewsAge = std::chrono::seconds(1);
constexpr auto kLeastExtension = std::chrono::milliseconds(100);

FlightKey KeyOf(const ChunkRequest& request) {
  FlightKey key{request.chunk.digest, {}, {}, request.object_offset};
  if (request.object != nullptr) {
    key.object = request.object->id().digest;
    key.scope = request.object->id().scope;
  }
  return key;
}

Error NameRange(const Flight& flight, Error error) {
  return std::move(error).In("blob " + flight.blob->digest.ToString() + ": range " +
                             std::to_string(flight.chunk.blob_offset) + "+" +
                             std::to_string(flight.chunk.stored_size));
}

Error Describe(const Flight& flight, const std::string& reason, Error error) {
  Error named = NameRange(flight, std::move(error));
  if (!reason.empty()) named = std::move(named).In(reason);
  if (!flight.blob->image.empty()) named = std::move(named).In("image " + flight.blob->image);
  return named;
}

}  // namespace

void SchedulerCore::NoteFailure(const Flight& flight, const Waiter& waiter, const Error& cause,
                                Actions& actions) {
  if (waiter.is_told) return;
  actions.failures.push_back({flight.blob, waiter.reason, waiter.reader, NameRange(flight, cause)});
}

SchedulerCore::SchedulerCore(Limits limits, uint64_t random_seed)
    : limits_(limits), random_(random_seed | 1) {}

Scheduler::WaiterId SchedulerCore::Submit(ChunkRequest request, ChunkDone done, TimePoint now) {
  Waiter waiter{next_id_++,
                std::move(done),
                now + request.timeout,
                now + kLongestWait * request.timeout,
                request.timeout,
                std::move(request.reason),
                std::move(request.reader),
                request.is_told};
  const Scheduler::WaiterId id = waiter.id;
  const FlightKey key = KeyOf(request);
  const auto existing = flights_.find(key);
  if (existing != flights_.end()) {
    const FlightPointer flight = existing->second;
    AddWaiter(flight, std::move(waiter), request.fetch_class);
    return id;
  }
  auto flight = std::make_shared<Flight>();
  flight->key = key;
  flight->blob = std::move(request.blob);
  flight->chunk = request.chunk;
  flight->object = std::move(request.object);
  flight->sequence = id;
  flight->fetch_class = request.fetch_class;
  flight->deadline = waiter.deadline;
  flights_.emplace(key, flight);
  AddWaiter(flight, std::move(waiter), request.fetch_class);
  Enqueue(flight);
  return id;
}

void SchedulerCore::AddWaiter(const FlightPointer& flight, Waiter waiter, FetchClass fetch_class) {
  waiters_.emplace(waiter.id, flight);
  flight->deadline = std::max(flight->deadline, waiter.deadline);
  if (fetch_class == FetchClass::kDemand) {
    // What others have met with is no answer for this reader: it is tried within its own time.
    const TimePoint latest = waiter.deadline - waiter.timeout / 2;
    Link& link = *LinkOf(flight->blob->source);
    link.demand_paused_until = std::min(link.demand_paused_until, latest);
    if (flight->delayed) flight->retry_at = std::min(flight->retry_at, latest);
  }
  flight->waiters.push_back(std::move(waiter));
  if (fetch_class < flight->fetch_class) Upgrade(flight, fetch_class);
  SetTimer(flight);
}

void SchedulerCore::Upgrade(const FlightPointer& flight, FetchClass fetch_class) {
  const std::shared_ptr<Link> link = LinkOf(flight->blob->source);
  link->queue.Reclass(flight, fetch_class);
  // The fill may have been told to wait for longer than a reader can.
  if (fetch_class == FetchClass::kDemand && flight->delayed) {
    flight->retry_at = std::min(flight->retry_at, link->demand_paused_until);
  }
  const bool only_in_transfer = flight->transfers > 0 && !flight->queued && !flight->decoding;
  if (fetch_class == FetchClass::kDemand && only_in_transfer && !IsNearArrival(flight.get())) {
    Enqueue(flight);
  }
}

std::shared_ptr<Link> SchedulerCore::LinkOf(const std::shared_ptr<BlobSource>& source) {
  std::shared_ptr<Link>& link = links_[source.get()];
  if (link == nullptr) {
    link = std::make_shared<Link>();
    link->source = source;
  }
  return link;
}

void SchedulerCore::Abandon(Scheduler::WaiterId waiter, Actions& actions) {
  const auto entry = waiters_.find(waiter);
  if (entry == waiters_.end()) return;
  const FlightPointer flight = entry->second;
  waiters_.erase(entry);
  const auto place = std::find_if(flight->waiters.begin(), flight->waiters.end(),
                                  [&](const Waiter& other) { return other.id == waiter; });
  actions.completions.push_back(
      {std::move(place->done),
       Fail(Describe(*flight, place->reason, Error{ErrorCode::kCancelled, "no longer wanted"}))});
  flight->waiters.erase(place);
  if (!flight->waiters.empty()) return SetTimer(flight);
  if (flight->object == nullptr && !flight->decoding) return Remove(flight, actions);
  // It goes on for the cache, behind those that somebody waits for.
  if (flight->fetch_class < FetchClass::kPrefetch) {
    LinkOf(flight->blob->source)->queue.Reclass(flight, FetchClass::kPrefetch);
  }
  SetTimer(flight);
}

void SchedulerCore::Enqueue(const FlightPointer& flight) {
  flight->delayed = false;
  LinkOf(flight->blob->source)->queue.Add(flight);
}

void SchedulerCore::Delay(const FlightPointer& flight, TimePoint until) {
  flight->delayed = true;
  flight->retry_at = until;
  SetTimer(flight);
}

void SchedulerCore::SetTimer(const FlightPointer& flight) {
  TimePoint next = flight->deadline;
  for (const Waiter& waiter : flight->waiters) next = std::min(next, waiter.deadline);
  if (flight->delayed) next = std::min(next, flight->retry_at);
  if (flight->elsewhere && !flight->polling) next = std::min(next, flight->poll_at);
  timers_.erase({flight->look_again, flight.get()});
  flight->look_again = next;
  timers_.emplace(next, flight.get());
}

void SchedulerCore::OnTimer(TimePoint now, Actions& actions) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    const FlightPointer flight = flights_.at(timers_.begin()->second->key);
    ExpireWaiters(flight, now, actions);
    if (flight->done) continue;
    if (flight->delayed && flight->retry_at <= now) Enqueue(flight);
    if (flight->elsewhere && !flight->polling && flight->poll_at <= now) {
      flight->polling = true;
      actions.look.push_back(flight);
    }
    SetTimer(flight);
  }
  Hedge(now);
}

// What there is to say of a flight that has not come, and of whose transfers none has failed.
std::string SchedulerCore::SilenceOf(const Flight* flight) const {
  const std::string source = flight->blob->source->name();
  for (const auto& [id, transfer] : transfers_) {
    const bool brings_it = std::ranges::any_of(
        transfer->parts, [&](const TransferPart& part) { return part.flight.get() == flight; });
    const uint64_t received = transfer->received.load();
    if (!brings_it || received == 0) continue;
    return source + " has sent " + std::to_string(received) + " of " +
           std::to_string(transfer->range.size) + " bytes";
  }
  return source + " has not answered";
}

// How long the flight takes until it is here, where its bytes are arriving.
std::optional<Duration> SchedulerCore::TimeToArrive(const Flight& flight, TimePoint now) const {
  if (flight.decoding) return Duration::zero();
  std::optional<Duration> soonest;
  for (const auto& [id, transfer] : transfers_) {
    const uint64_t received = transfer->received.load();
    if (received == 0 || now - transfer->last_byte.load() > kNewsAge) continue;
    for (const TransferPart& part : transfer->parts) {
      if (part.flight.get() != &flight) continue;
      const uint64_t end = flight.end() - transfer->range.offset;
      const double left = static_cast<double>(end) - static_cast<double>(received);
      const auto needed = std::chrono::duration_cast<Duration>(
          (now - transfer->started) * (std::max(left, 0.0) / static_cast<double>(received)));
      soonest = std::min(soonest.value_or(needed), needed);
    }
  }
  return soonest;
}

void SchedulerCore::ExtendWaiters(Flight& flight, TimePoint now) const {
  std::optional<Duration> needed;
  for (Waiter& waiter : flight.waiters) {
    if (waiter.deadline > now || waiter.last_deadline <= now) continue;
    if (!needed.has_value()) needed = TimeToArrive(flight, now);
    if (!needed.has_value() || now + *needed > waiter.last_deadline) continue;
    const auto extension = std::max<Duration>(*needed, kLeastExtension);
    waiter.deadline = std::min(now + extension, waiter.last_deadline);
    flight.deadline = std::max(flight.deadline, waiter.deadline);
  }
}

void SchedulerCore::ExpireWaiters(const FlightPointer& flight, TimePoint now, Actions& actions) {
  ExtendWaiters(*flight, now);
  bool logged = false;
  const auto expired = std::stable_partition(flight->waiters.begin(), flight->waiters.end(),
                                             [&](const Waiter& w) { return w.deadline > now; });
  for (auto waiter = expired; waiter != flight->waiters.end(); ++waiter) {
    const std::string last =
        flight->error.has_value() ? flight->error->context : SilenceOf(flight.get());
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(
        waiter->deadline - (waiter->last_deadline - kLongestWait * waiter->timeout));
    const Error cause{ErrorCode::kTimeout,
                      "gave up after " + std::to_string(waited.count()) + " ms: " + last, true};
    Error error = Describe(*flight, waiter->reason, cause);
    if (!logged) NoteFailure(*flight, *waiter, cause, actions);
    logged = true;
    ++statistics_.errors;
    waiters_.erase(waiter->id);
    actions.completions.push_back({std::move(waiter->done), Fail(std::move(error))});
  }
  flight->waiters.erase(expired, flight->waiters.end());
  if (!flight->waiters.empty() || flight->deadline > now) return;
  if (!flight->decoding) return Remove(flight, actions);
  // Its bytes are here and on their way into the cache.
  flight->deadline = now + kDecodingTime;
  SetTimer(flight);
}

// The claim that came with the answer is the flight's, and goes with it.
void SchedulerCore::NoteClaim(const FlightPointer& flight, CacheAnswer answer, Actions& actions) {
  const bool claims = answer == CacheAnswer::kFetch || answer == CacheAnswer::kCandidate;
  if (!claims || flight->object == nullptr) return;
  flight->claimed = !flight->done;
  if (flight->done) actions.unclaim.push_back(flight);
}

bool SchedulerCore::OnLooked(const FlightPointer& flight, CacheAnswer answer, TimePoint now,
                             Actions& actions) {
  flight->polling = false;
  NoteClaim(flight, answer, actions);
  if (flight->done) return false;
  if (answer == CacheAnswer::kElsewhere && now - flight->elsewhere_since < kPatience) {
    flight->poll_delay = std::min<Duration>(2 * flight->poll_delay, kSlowestPoll);
    flight->poll_at = now + flight->poll_delay;
    SetTimer(flight);
    return false;
  }
  flight->elsewhere = false;
  if (answer == CacheAnswer::kPresent || answer == CacheAnswer::kCandidate) {
    StartDecoding(flight, 0);
    return true;
  }
  flight->impatient = answer == CacheAnswer::kElsewhere;
  Enqueue(flight);
  SetTimer(flight);
  return false;
}

void SchedulerCore::StartDecoding(const FlightPointer& flight, uint64_t held_bytes) {
  LinkOf(flight->blob->source)->queue.Remove(*flight);
  flight->delayed = false;
  flight->decoding = true;
  flight->held_bytes = held_bytes;
  ++decoding_;
}

void SchedulerCore::EndDecoding(const FlightPointer& flight) {
  --decoding_;
  held_bytes_ -= flight->held_bytes;
  flight->held_bytes = 0;
  flight->decoding = false;
}

void SchedulerCore::OnRead(const AtHand& at_hand, Result<SharedBytes> result, TimePoint now,
                           Actions& actions) {
  const FlightPointer& flight = at_hand.flight;
  EndDecoding(flight);
  if (flight->done) return;
  if (result.has_value()) {
    if (at_hand.candidate) ++statistics_.reused_chunks;
    return Succeed(flight, *result, actions);
  }
  // Why the cache had it not is no cause for the reader to be told.
  flight->bypass_cache = true;
  if (flight->waiters.empty() && flight->deadline <= now) return Remove(flight, actions);
  Enqueue(flight);
  SetTimer(flight);
}

void SchedulerCore::OnDecoded(const FlightPointer& flight, Result<SharedBytes> result,
                              TimePoint now, Actions& actions) {
  EndDecoding(flight);
  if (flight->done) return;
  if (result.has_value()) {
    ++statistics_.chunks;
    statistics_.class_bytes[static_cast<size_t>(flight->fetch_class)] += flight->chunk.stored_size;
    return Succeed(flight, *result, actions);
  }
  flight->error = std::move(result).error();
  const bool hopeless = flight->error->code == ErrorCode::kUnsupported;
  if (!hopeless) {
    actions.distrusted.push_back(
        {flight->blob->source,
         {flight->blob->digest, flight->blob->size, flight->begin(), flight->chunk.stored_size}});
  }
  if (hopeless) return FailFlight(flight, *flight->error, actions);
  flight->error->context = flight->blob->source->name() +
                           ": it gives other bytes than the image's index says (" +
                           flight->error->context + ")";
  if (++flight->mismatches >= kMaxMismatches) return FailFlight(flight, *flight->error, actions);
  ++statistics_.retries;
  Delay(flight, now + Backoff(*LinkOf(flight->blob->source), flight->mismatches));
}

void SchedulerCore::Succeed(const FlightPointer& flight, const SharedBytes& content,
                            Actions& actions) {
  for (Waiter& waiter : flight->waiters) {
    waiters_.erase(waiter.id);
    actions.completions.push_back({std::move(waiter.done), content});
  }
  flight->waiters.clear();
  Remove(flight, actions);
}

void SchedulerCore::FailFlight(const FlightPointer& flight, const Error& error, Actions& actions) {
  if (!flight->waiters.empty()) NoteFailure(*flight, flight->waiters.front(), error, actions);
  for (Waiter& waiter : flight->waiters) {
    ++statistics_.errors;
    waiters_.erase(waiter.id);
    actions.completions.push_back(
        {std::move(waiter.done), Fail(Describe(*flight, waiter.reason, error))});
  }
  flight->waiters.clear();
  Remove(flight, actions);
}

void SchedulerCore::Remove(const FlightPointer& flight, Actions& actions) {
  // `flight` may refer into what is removed here.
  const FlightPointer keep = flight;  // NOLINT(performance-unnecessary-copy-initialization)
  flight->done = true;
  LinkOf(flight->blob->source)->queue.Remove(*flight);
  timers_.erase({flight->look_again, flight.get()});
  flights_.erase(flight->key);
  if (flight->claimed) actions.unclaim.push_back(flight);
  flight->claimed = false;
  if (flight->transfers > 0) CancelUnwanted(flight.get(), actions);
}

TimePoint SchedulerCore::NextWake(TimePoint now) const {
  TimePoint next = timers_.empty() ? TimePoint::max() : timers_.begin()->first;
  for (const auto& [source, link] : links_) {
    if (link->queue.empty()) continue;
    for (const TimePoint end : {link->paused_until, link->demand_paused_until}) {
      if (end > now) next = std::min(next, end);
    }
    if (link->demand_until > now) next = std::min(next, link->demand_until);
  }
  for (const auto& [id, transfer] : transfers_) {
    next = std::min(next, transfer->hedge_at);
    // Its place may be somebody else's.
    const FlightPointer head = transfer->link->queue.Head();
    if (head == nullptr || head->fetch_class != FetchClass::kDemand) continue;
    const TimePoint silent = SilentFrom(*transfer);
    if (transfer->received.load() == 0 && silent > now) next = std::min(next, silent);
  }
  return next;
}

void SchedulerCore::Stop(Actions& actions) {
  stopped_ = true;
  const auto flights = std::move(flights_);
  flights_.clear();
  for (const auto& [key, flight] : flights) {
    for (Waiter& waiter : flight->waiters) {
      actions.completions.push_back(
          {std::move(waiter.done),
           Fail(Describe(*flight, waiter.reason, Error{ErrorCode::kCancelled, "shutting down"}))});
    }
    flight->waiters.clear();
    Remove(flight, actions);
  }
  waiters_.clear();
  for (const auto& [id, transfer] : transfers_) {
    if (!transfer->cancelled) Cancel(*transfer, actions);
  }
}

SchedulerStatistics SchedulerCore::Statistics() const {
  SchedulerStatistics statistics = statistics_;
  // Of several links, the one that is used: the fastest.
  for (const auto& [source, link] : links_) {
    if (link->estimator.bytes_per_second() < statistics.bytes_per_second) continue;
    statistics.bytes_per_second = link->estimator.bytes_per_second();
    const auto trip = link->estimator.round_trip().value_or(Duration::zero());
    statistics.round_trip_ms = std::chrono::duration<double, std::milli>(trip).count();
  }
  return statistics;
}

std::vector<std::shared_ptr<Link>> SchedulerCore::TakeUnusedLinks() {
  std::vector<std::shared_ptr<Link>> unused;
  for (auto entry = links_.begin(); entry != links_.end();) {
    // Flights and transfers hold the source too, by their blob.
    if (entry->second->source.use_count() == 1 && entry->second.use_count() == 1) {
      unused.push_back(std::move(entry->second));
      entry = links_.erase(entry);
    } else {
      ++entry;
    }
  }
  return unused;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// SchedulerCore's half that decides what goes over the links: which flights make up the next range
// request, and what becomes of them when it ends.
#include <algorithm>

#include "fetch/scheduler_core.h"

namespace layerfs {
namespace {

// Beside a demand read the window is filled by at least so many requests, on most links by single
// chunks: each is a connection that takes its share from the demand read's only until it is
// through.
constexpr uint64_t kPiecesBesideDemand = 8;
// What demand reads that are neighbours join into at most, where the window is smaller.
constexpr uint64_t kLeastDemandJoin = uint64_t{1} << 20;

// Demand reads wait for a place only where so many are on their way, and take so long.
constexpr int kLeastDemandTransfers = 3;
constexpr auto kDemandOnTheWay = std::chrono::seconds(1);
// What has not begun to be answered after so long, and this many times what is usual, may never be,
// and takes nobody's place.
constexpr Duration kSilence = std::chrono::seconds(1);
constexpr int kSilenceFactor = 4;

constexpr auto kFirstBackoff = std::chrono::milliseconds(50);
constexpr auto kLongestBackoff = std::chrono::seconds(5);
// However long a server wants to be left alone, a read that somebody waits for is tried before its
// time is over: the server may be back long before.
constexpr auto kLongestDemandPause = std::chrono::seconds(10);
// After this many transfers in a row that brought nothing, the link as a whole is given a rest.
constexpr int kFailuresUntilPause = 3;
// Hedges are at most this share of all requests, but for the first: they help against the odd slow
// answer, and would make a link that is slow as a whole slower.
constexpr uint64_t kRequestsPerHedge = 20;
constexpr uint64_t kFreeHedges = 2;
// What is too long for a first byte while too few answers say it.
constexpr auto kFirstHedgeDelay = std::chrono::seconds(2);
// An answer that has begun is slow when it takes so much longer than the link needs for all that is
// on its way, and this beside.
constexpr int kSlowFactor = 4;
constexpr auto kSlowBody = std::chrono::seconds(1);
constexpr Duration kLongestBody = std::chrono::seconds(10);

// A broken transfer that brought so much of a chunk is asked on at once; less may be a server that
// never brings more.
constexpr size_t kProgressBytes = size_t{16} << 10;

bool IsOurCancel(const Transfer& transfer, const TransferResult& result) {
  return transfer.cancelled && !result.status.has_value() &&
         result.status.error().code == ErrorCode::kCancelled;
}

}  // namespace

TransferPointer SchedulerCore::Plan(TimePoint now) {
  if (stopped_) return nullptr;
  for (const auto& [source, link] : links_) {
    if (TransferPointer transfer = PlanOn(link, now)) return transfer;
  }
  return nullptr;
}

TransferPointer SchedulerCore::PlanOn(const std::shared_ptr<Link>& link, TimePoint now) {
  const FlightPointer head = link->queue.Head();
  if (head == nullptr) return nullptr;
  const bool demand = head->fetch_class == FetchClass::kDemand;
  if ((demand ? link->demand_paused_until : link->paused_until) > now) return nullptr;
  const uint64_t stored = head->chunk.stored_size;
  const uint64_t memory = demand ? limits_.held_bytes : limits_.held_bytes / 2;
  if (held_bytes_ > 0 && held_bytes_ + stored > memory) return nullptr;

  const LinkEstimator& estimator = link->estimator;
  const bool beside_demand = link->demand_transfers > 0 || link->demand_until > now;
  const uint64_t window = estimator.window_bytes(beside_demand);
  const uint64_t on_the_way = BytesOnTheWay(*link, now);
  const uint64_t room = window > on_the_way ? window - on_the_way : 0;
  if (demand) {
    const int answering = link->demand_transfers - SilentDemand(*link, now);
    if (answering >= limits_.demand_transfers) return nullptr;
    // On a slow link they go one after the other: side by side, all would be late.
    if (answering >= kLeastDemandTransfers && estimator.bytes_per_second() > 0 &&
        estimator.TimeFor(on_the_way) > kDemandOnTheWay) {
      return nullptr;
    }
  } else {
    if (link->low_transfers >= limits_.low_transfers) return nullptr;
    // Chunks do not fit the window exactly: beside a demand read, half of one over it and half of
    // one under it in turn, instead of up to one over it.
    const uint64_t least = beside_demand ? std::min(stored, window) / 2 + 1 : 1;
    if (room < least) {
      // Who takes what comes looks at this without the lock.
      link->room_at.store(link->received.load() + on_the_way + least - window);
      return nullptr;
    }
  }
  const uint64_t low_piece = beside_demand ? window / kPiecesBesideDemand : estimator.piece_bytes();
  const uint64_t piece = demand ? std::max(window, kLeastDemandJoin) : low_piece;
  const uint64_t memory_left = memory > held_bytes_ ? memory - held_bytes_ : 0;
  return MakeTransfer(
      link, link->queue.TakeJoined(
                {std::min(piece, memory_left), estimator.bridge_bytes(), demand ? room : piece}));
}

// From when on a transfer counts as silent, if it is.
TimePoint SchedulerCore::SilentFrom(const Transfer& transfer) {
  const auto usual = transfer.link->estimator.first_byte_p95().value_or(Duration::zero());
  return transfer.started + std::max(kSilence, kSilenceFactor * usual);
}

bool SchedulerCore::IsSilent(const Transfer& transfer, TimePoint now) {
  return transfer.received.load() == 0 && transfer.source_id.has_value() &&
         SilentFrom(transfer) <= now;
}

int SchedulerCore::SilentDemand(const Link& link, TimePoint now) const {
  return static_cast<int>(std::ranges::count_if(transfers_, [&](const auto& entry) {
    const Transfer& transfer = *entry.second;
    return transfer.link.get() == &link && transfer.fetch_class == FetchClass::kDemand &&
           IsSilent(transfer, now);
  }));
}

// What has been asked for, and has not come.
uint64_t SchedulerCore::BytesOnTheWay(const Link& link, TimePoint now) const {
  uint64_t bytes = 0;
  for (const auto& [id, transfer] : transfers_) {
    if (transfer->link.get() != &link || transfer->cancelled || IsSilent(*transfer, now)) continue;
    bytes += transfer->range.size - std::min(transfer->range.size, transfer->received.load());
  }
  return bytes;
}

TransferPointer SchedulerCore::MakeTransfer(const std::shared_ptr<Link>& link,
                                            std::vector<FlightPointer> flights) {
  auto transfer = std::make_shared<Transfer>();
  transfer->id = next_id_++;
  transfer->link = link;
  for (FlightPointer& flight : flights) {
    ++flight->transfers;
    transfer->fetch_class = std::min(transfer->fetch_class, flight->fetch_class);
    transfer->parts.push_back({.flight = std::move(flight)});
  }
  Shape(*transfer);
  const bool demand = transfer->fetch_class == FetchClass::kDemand;
  ++(demand ? link->demand_transfers : link->low_transfers);
  transfers_.emplace(transfer->id, transfer);
  return transfer;
}

// Computes what follows from the parts, and counts it.
void SchedulerCore::Shape(Transfer& transfer) {
  const Flight& first = *transfer.parts.front().flight;
  const uint64_t begin = first.begin() + transfer.parts.front().prefix.size();
  uint64_t end = begin;
  for (TransferPart& part : transfer.parts) {
    part.offset = part.flight->begin() + part.prefix.size() - begin;
    end = std::max(end, part.flight->end());
  }
  transfer.range = {first.blob->digest, first.blob->size, begin, end - begin, first.hedged};
  transfer.held_bytes = transfer.range.size;
  held_bytes_ += transfer.held_bytes;
}

void SchedulerCore::Release(Transfer& transfer) {
  held_bytes_ -= transfer.held_bytes;
  transfer.held_bytes = 0;
}

bool SchedulerCore::Admit(const TransferPointer& transfer, const std::vector<CacheAnswer>& answers,
                          std::vector<AtHand>& at_hand, TimePoint now, Actions& actions) {
  std::vector<TransferPart> kept;
  for (size_t i = 0; i < transfer->parts.size(); ++i) {
    const FlightPointer flight = transfer->parts[i].flight;
    NoteClaim(flight, answers[i], actions);
    if (!flight->done && !flight->decoding && answers[i] == CacheAnswer::kFetch) {
      kept.push_back(std::move(transfer->parts[i]));
      kept.back().prefix = std::exchange(flight->prefix, {});
      continue;
    }
    --flight->transfers;
    if (flight->done || flight->decoding) continue;
    const bool candidate = answers[i] == CacheAnswer::kCandidate;
    if (candidate || answers[i] == CacheAnswer::kPresent) {
      StartDecoding(flight, 0);
      at_hand.push_back({flight, candidate});
    } else if (!flight->elsewhere && flight->transfers == 0) {
      flight->elsewhere = true;
      flight->elsewhere_since = now;
      flight->poll_delay = std::chrono::milliseconds(2);
      flight->poll_at = now + flight->poll_delay;
      SetTimer(flight);
    }
  }
  Release(*transfer);
  transfer->parts = std::move(kept);
  if (!transfer->parts.empty() && !transfer->cancelled) {
    Shape(*transfer);
    transfer->started = now;
    transfer->link_bytes_before = transfer->link->received.load();
    if (transfer->fetch_class == FetchClass::kDemand) {
      transfer->hedge_at = now + FirstBytePatience(*transfer->link);
    }
    return true;
  }
  const bool demand = transfer->fetch_class == FetchClass::kDemand;
  --(demand ? transfer->link->demand_transfers : transfer->link->low_transfers);
  transfers_.erase(transfer->id);
  return false;
}

bool SchedulerCore::OnStarted(const TransferPointer& transfer, BlobSource::TransferId source_id) {
  ++statistics_.requests;
  transfer->source_id = source_id;
  return !transfer->cancelled;
}

bool SchedulerCore::OnArrived(const TransferPointer& transfer, size_t part_number) {
  TransferPart& part = transfer->parts[part_number];
  const FlightPointer& flight = part.flight;
  part.arrived = true;
  --flight->transfers;
  if (flight->done || flight->decoding) return false;
  const uint64_t held = std::min<uint64_t>(transfer->held_bytes, flight->chunk.stored_size);
  transfer->held_bytes -= held;
  StartDecoding(flight, held);
  return true;
}

void SchedulerCore::OnTransferDone(const TransferPointer& transfer, const TransferResult& result,
                                   TimePoint now, Actions& actions) {
  const std::shared_ptr<Link> keep = transfer->link;
  Link& link = *keep;
  const bool demand = transfer->fetch_class == FetchClass::kDemand;
  --(demand ? link.demand_transfers : link.low_transfers);
  if (demand) link.demand_until = now + link.estimator.round_trip().value_or(Duration::zero());
  Release(*transfer);
  transfers_.erase(transfer->id);
  statistics_.body_bytes += result.body_bytes;
  link.estimator.OnTransfer(result, transfer->started, now,
                            link.received.load() - transfer->link_bytes_before);
  const bool progress = KeepWhatCame(*transfer);
  // What no other try would bring (a blob that is gone or cut short) says nothing of the link.
  const bool hopeless = !result.status.has_value() && !result.status.error().retryable;
  if (progress) {
    link.failures = 0;
  } else if (!IsOurCancel(*transfer, result) && !hopeless) {
    ++link.failures;
  }
  if (result.retry_after.has_value()) {
    const Duration demand_pause = std::min<Duration>(*result.retry_after, kLongestDemandPause);
    link.paused_until = std::max(link.paused_until, now + *result.retry_after);
    link.demand_paused_until = std::max(link.demand_paused_until, now + demand_pause);
  } else if (link.failures >= kFailuresUntilPause) {
    // Not less than a server has asked for.
    const TimePoint rested = now + Backoff(link, link.failures - kFailuresUntilPause + 1);
    link.paused_until = std::max(link.paused_until, rested);
    link.demand_paused_until = std::max(link.demand_paused_until, rested);
  }
  const Error error = result.status.has_value()
                          ? Error{ErrorCode::kNetwork, link.source->name() + ": ended early", true}
                          : result.status.error();
  if (!IsOurCancel(*transfer, result) && !result.status.has_value()) {
    statistics_.last_error = error.context;
  }
  for (TransferPart& part : transfer->parts) {
    if (part.arrived) continue;
    --part.flight->transfers;
    OnUndelivered(part.flight, error, progress || IsOurCancel(*transfer, result), link, now,
                  actions);
  }
  // The source's thread may be the last to let go of the transfer, and must not be the one that
  // destroys the source.
  transfer->parts.clear();
  transfer->link.reset();
}

// Leaves to the flights what there is of them, so that only the rest is asked for. Whether the
// transfer got anywhere.
bool SchedulerCore::KeepWhatCame(Transfer& transfer) {
  bool progress = false;
  for (size_t i = 0; i < transfer.parts.size(); ++i) {
    TransferPart& part = transfer.parts[i];
    progress = progress || part.arrived;
    if (part.arrived) continue;
    if (i == transfer.assembling && !transfer.buffer.empty()) {
      part.prefix = std::exchange(transfer.buffer, {});
      const size_t came = std::min<uint64_t>(part.prefix.size(), transfer.received.load());
      progress = progress || came >= kProgressBytes;
    }
    Flight& flight = *part.flight;
    const bool wanted = !flight.done && !flight.decoding && flight.transfers == 1;
    if (wanted && part.prefix.size() > flight.prefix.size()) flight.prefix = std::move(part.prefix);
  }
  return progress;
}

void SchedulerCore::OnUndelivered(const FlightPointer& flight, const Error& error, bool progress,
                                  Link& link, TimePoint now, Actions& actions) {
  if (flight->done || flight->decoding || flight->queued || flight->transfers > 0) return;
  const bool retryable = error.retryable || error.code == ErrorCode::kCancelled;
  if (!retryable) return FailFlight(flight, error, actions);
  ++statistics_.retries;
  flight->error = error;
  flight->failures = progress ? 0 : flight->failures + 1;
  // A connection that broke is no news of the link; one that breaks again may be.
  const bool odd = flight->failures == 1 && link.failures <= 1;
  if (flight->failures == 0 || odd) return Enqueue(flight);
  const bool demand = flight->fetch_class == FetchClass::kDemand;
  Delay(flight, std::max(now + Backoff(link, flight->failures),
                         demand ? link.demand_paused_until : link.paused_until));
}

// Exponential, between half and one and a half of the nominal time, so that waiters and processes
// do not come back all at once.
Duration SchedulerCore::Backoff(const Link& link, int failures) {
  const Duration first =
      std::max<Duration>(kFirstBackoff, link.estimator.round_trip().value_or(Duration::zero()));
  const Duration nominal =
      std::min<Duration>(first * (int64_t{1} << std::min(failures - 1, 10)), kLongestBackoff);
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return nominal / 2 +
         Duration(static_cast<int64_t>(random_ % static_cast<uint64_t>(nominal.count())));
}

bool SchedulerCore::IsNearArrival(const Flight* flight) const {
  for (const auto& [id, transfer] : transfers_) {
    for (const TransferPart& part : transfer->parts) {
      if (part.flight.get() != flight || part.arrived) continue;
      const uint64_t received = transfer->received.load();
      const uint64_t ahead = part.offset > received ? part.offset - received : 0;
      const LinkEstimator& estimator = transfer->link->estimator;
      const Duration patience = estimator.round_trip().value_or(Duration::zero());
      if (estimator.TimeFor(ahead) <= patience) return true;
    }
  }
  return false;
}

// Ends those transfers that the flight was in and that bring nothing more that is wanted, unless
// they are nearly through: ending one can cost its connection. One that has not begun to answer may
// never do so.
void SchedulerCore::CancelUnwanted(const Flight* flight, Actions& actions) {
  for (const auto& [id, transfer] : transfers_) {
    if (transfer->cancelled) continue;
    bool concerned = false;
    bool wanted = false;
    for (const TransferPart& part : transfer->parts) {
      concerned = concerned || (part.flight.get() == flight && !part.arrived);
      wanted = wanted || (!part.arrived && !part.flight->done && !part.flight->decoding);
    }
    const uint64_t received = std::min(transfer->range.size, transfer->received.load());
    const bool nearly_through =
        received > 0 && transfer->range.size - received <= transfer->link->estimator.bridge_bytes();
    if (!concerned || wanted || (nearly_through && !transfer->hedged)) continue;
    Cancel(*transfer, actions);
  }
}

void SchedulerCore::Cancel(Transfer& transfer, Actions& actions) {
  transfer.cancelled = true;
  transfer.stop.store(true);
  // Where it is only just being started, OnStarted says that it is cancelled.
  if (transfer.source_id.has_value()) {
    actions.cancel.push_back({transfer.link->source, *transfer.source_id});
  }
}

Duration SchedulerCore::FirstBytePatience(const Link& link) {
  return link.estimator.first_byte_p95().value_or(kFirstHedgeDelay);
}

// When an answer that has begun should have ended.
TimePoint SchedulerCore::BodyDue(const Transfer& transfer, TimePoint now) const {
  const Link& link = *transfer.link;
  const Duration needed =
      std::min(link.estimator.TimeFor(BytesOnTheWay(link, now)), kLongestBody / kSlowFactor);
  return transfer.started + FirstBytePatience(link) + kSlowBody + kSlowFactor * needed;
}

// Asks again, over another connection, for what demand reads wait for longer than all but a few
// had to.
void SchedulerCore::Hedge(TimePoint now) {
  for (const auto& [id, transfer] : transfers_) {
    if (transfer->hedge_at > now) continue;
    transfer->hedge_at = transfer->received.load() > 0 ? BodyDue(*transfer, now) : now;
    if (transfer->hedge_at > now) continue;
    const bool affordable = (statistics_.hedges + 1) * kRequestsPerHedge <=
                            statistics_.requests + kFreeHedges * kRequestsPerHedge;
    if (!affordable && !transfer->cancelled) {
      transfer->hedge_at =
          now + std::max<Duration>(FirstBytePatience(*transfer->link), kFirstBackoff);
      continue;
    }
    transfer->hedge_at = TimePoint::max();
    if (transfer->cancelled) continue;
    transfer->hedged = true;
    ++statistics_.hedges;
    for (const TransferPart& part : transfer->parts) {
      if (part.arrived || part.flight->done || part.flight->decoding) continue;
      part.flight->hedged = true;
      Enqueue(part.flight);
    }
  }
}

}  // namespace layerfs

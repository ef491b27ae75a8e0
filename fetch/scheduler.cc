// SPDX-License-Identifier: Apache-2.0
#include "fetch/scheduler.h"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "fetch/chunk_decoder.h"
#include "fetch/priority_workers.h"
#include "fetch/scheduler_core.h"
#include "fetch/unkept_chunks.h"
#include "index/base/descriptors.h"
#include "index/base/log.h"
#include "index/base/synchronized.h"

namespace layerfs {
namespace {

// Each request may be a connection.
SchedulerCore::Limits LimitsFor(const Scheduler::Options& options) {
  SchedulerCore::Limits limits;
  limits.held_bytes = options.memory_bytes;
  limits.demand_transfers =
      static_cast<int>(DescriptorShare(8, 4, static_cast<size_t>(limits.demand_transfers)));
  limits.low_transfers =
      static_cast<int>(DescriptorShare(16, 4, static_cast<size_t>(limits.low_transfers)));
  return limits;
}

}  // namespace

// The threads around the core: callers of Fetch, the sources' threads, the workers, and one of its
// own that watches the time and sends what has become possible. Each takes the core's lock for a
// moment, and carries out what comes of it after.
struct Scheduler::Impl {
  explicit Impl(const Options& options);
  ~Impl();

  WaiterId Submit(ChunkRequest request, ChunkDone done);
  void Send();
  void Run(Actions actions);
  static void LogFailure(const Actions::Failure& failure);
  // Starts what may start. Not from a source's thread.
  void Pump();
  void Watch();
  void Start(const TransferPointer& transfer);
  bool OnData(const TransferPointer& transfer, ByteSpan data);
  void OnDone(const TransferPointer& transfer, const TransferResult& result);
  void OnPartArrived(const TransferPointer& transfer, size_t part, Bytes stored);
  void Decode(const FlightPointer& flight, const Bytes& stored, FetchClass fetch_class);
  void Finish(const std::shared_ptr<CachedObject>& object);
  void ReadAtHand(const AtHand& at_hand);
  void Look(const FlightPointer& flight);
  static CacheAnswer Ask(const Flight& flight);
  bool Store(const Flight& flight, ByteSpan content);
  static void NoteForOthers(const Flight& flight);
  void Decoded(const FlightPointer& flight, Result<SharedBytes> result);

  Clock& clock;
  Synchronized<SchedulerCore> core;
  UnkeptChunks unkept;
  WakeSignal wake;
  std::atomic<bool> stopping{false};
  std::atomic<bool> warned_uncached{false};
  std::atomic<bool> warned_unreadable{false};
  std::optional<PriorityWorkers> workers;
  std::jthread watcher;
};

Scheduler::Impl::Impl(const Options& options)
    : clock(options.clock != nullptr ? *options.clock : SteadyClock()),
      core(SchedulerCore(LimitsFor(options), std::random_device()())),
      workers(std::in_place, options.workers),
      watcher([this] {
        pthread_setname_np(pthread_self(), "scheduler");
        Watch();
      }) {}

Scheduler::Impl::~Impl() {
  stopping.store(true);
  wake.Notify();
  watcher.join();
  Actions actions;
  core.With([&](SchedulerCore& c) { c.Stop(actions); });
  Run(std::move(actions));
  core.WaitThen([](SchedulerCore& c) { return c.idle(); }, [](SchedulerCore&) {});
  workers.reset();
}

// 0: it has been answered already.
Scheduler::WaiterId Scheduler::Impl::Submit(ChunkRequest request, ChunkDone done) {
  const Status possible = CheckChunkRef(request.chunk, request.blob->size);
  if (!possible.has_value()) {
    done(Fail(possible.error().In("blob " + request.blob->digest.ToString())));
    return 0;
  }
  if (request.object != nullptr &&
      request.object->Contains(request.object_offset, request.chunk.size)) {
    auto content = std::make_shared<Bytes>(request.chunk.size);
    if (request.object->Read(request.object_offset, *content).has_value()) {
      done(SharedBytes(std::move(content)));
      return 0;
    }
  }
  SharedBytes unkept_content = unkept.Find(request.chunk.digest);
  if (unkept_content != nullptr && unkept_content->size() == request.chunk.size) {
    done(std::move(unkept_content));
    return 0;
  }
  const TimePoint now = clock.Now();
  return core.With(
      [&](SchedulerCore& c) { return c.Submit(std::move(request), std::move(done), now); });
}

void Scheduler::Impl::Send() {
  Pump();
  wake.Notify();
}

void Scheduler::Impl::LogFailure(const Actions::Failure& failure) {
  Error error = failure.error;
  const std::string reader = failure.reader ? failure.reader() : failure.reason;
  if (!reader.empty()) error = std::move(error).In(reader);
  if (!failure.blob->image.empty()) error = std::move(error).In("image " + failure.blob->image);
  LogError(error.context, {{"image", failure.blob->image},
                           {"blob", failure.blob->digest.ToString()},
                           {"reader", reader}});
}

void Scheduler::Impl::Run(Actions actions) {
  for (const FlightPointer& flight : actions.unclaim) {
    flight->object->Unclaim(flight->key.object_offset, flight->chunk.size);
  }
  for (const Actions::Cancellation& cancel : actions.cancel) cancel.source->Cancel(cancel.transfer);
  for (const Actions::Distrusted& wrong : actions.distrusted) wrong.source->Distrust(wrong.range);
  for (const Actions::Failure& failure : actions.failures) LogFailure(failure);
  for (Actions::Completion& completion : actions.completions) {
    completion.done(std::move(completion.result));
  }
  for (const FlightPointer& flight : actions.look) Look(flight);
}

void Scheduler::Impl::Watch() {
  while (!stopping.load()) {
    Actions actions;
    const TimePoint now = clock.Now();
    std::vector<std::shared_ptr<Link>> unused;
    core.With([&](SchedulerCore& c) {
      c.OnTimer(now, actions);
      unused = c.TakeUnusedLinks();
    });
    unused.clear();  // Here, and not on a source's own thread, a source may end.
    Run(std::move(actions));
    Pump();
    const TimePoint next = core.With([&](SchedulerCore& c) { return c.NextWake(clock.Now()); });
    wake.WaitUntil(clock, next);
  }
}

void Scheduler::Impl::Pump() {
  while (const TransferPointer transfer =
             core.With([&](SchedulerCore& c) { return c.Plan(clock.Now()); })) {
    Start(transfer);
  }
}

CacheAnswer Scheduler::Impl::Ask(const Flight& flight) {
  if (flight.object == nullptr) return CacheAnswer::kFetch;
  CachedObject& object = *flight.object;
  const uint64_t offset = flight.key.object_offset;
  // The claim comes first: who had it before may have ended in between.
  const bool claimed = flight.claimed || object.TryClaim(offset, flight.chunk.size);
  if (!flight.bypass_cache && object.Contains(offset, flight.chunk.size)) {
    if (claimed && !flight.claimed) object.Unclaim(offset, flight.chunk.size);
    return CacheAnswer::kPresent;
  }
  if (!claimed && !flight.impatient) return CacheAnswer::kElsewhere;
  const bool candidate =
      !flight.bypass_cache && object.HasCandidate(flight.chunk.digest, offset, flight.chunk.size);
  return candidate ? CacheAnswer::kCandidate : CacheAnswer::kFetch;
}

void Scheduler::Impl::Start(const TransferPointer& transfer) {
  std::vector<CacheAnswer> answers;
  answers.reserve(transfer->parts.size());
  for (const TransferPart& part : transfer->parts) answers.push_back(Ask(*part.flight));
  // Kept, because the transfer may be through before its starting returns.
  const std::shared_ptr<Link> link = transfer->link;
  std::vector<AtHand> at_hand;
  Actions actions;
  const bool go = core.WithNotify(
      [&](SchedulerCore& c) { return c.Admit(transfer, answers, at_hand, clock.Now(), actions); });
  Run(std::move(actions));
  for (AtHand& chunk : at_hand) {
    workers->Submit(transfer->fetch_class, [this, chunk = std::move(chunk)] { ReadAtHand(chunk); });
  }
  if (!go) return;
  BlobSource& source = *link->source;
  const BlobSource::TransferId id =
      source.Start(transfer->range, transfer->fetch_class,
                   {[this, transfer](ByteSpan data) { return OnData(transfer, data); },
                    [this, transfer](const TransferResult& result) { OnDone(transfer, result); }});
  if (!core.With([&](SchedulerCore& c) { return c.OnStarted(transfer, id); })) source.Cancel(id);
}

// Cuts the stream into the parts' bytes; what is between them has only been fetched along.
bool Scheduler::Impl::OnData(const TransferPointer& transfer, ByteSpan data) {
  if (transfer->stop.load()) return false;
  uint64_t position = transfer->received.load();
  transfer->received.store(position + data.size());
  transfer->last_byte.store(clock.Now());
  Link& link = *transfer->link;
  const uint64_t before = link.received.fetch_add(data.size());
  const uint64_t room_at = link.room_at.load();
  if (before < room_at && before + data.size() >= room_at) wake.Notify();
  while (!data.empty() && transfer->assembling < transfer->parts.size()) {
    TransferPart& part = transfer->parts[transfer->assembling];
    const uint64_t stored = part.flight->chunk.stored_size;
    if (position < part.offset) {
      const uint64_t gap = std::min<uint64_t>(part.offset - position, data.size());
      position += gap;
      data = data.subspan(gap);
      continue;
    }
    Bytes& buffer = transfer->buffer;
    if (buffer.empty()) {
      buffer = std::exchange(part.prefix, {});
      // What an index claims to be long gets its memory as it comes.
      buffer.reserve(std::min<uint64_t>(stored, kMaxChunkBytes));
    }
    const uint64_t take = std::min<uint64_t>(stored - buffer.size(), data.size());
    buffer.insert(buffer.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(take));
    position += take;
    data = data.subspan(take);
    if (buffer.size() == stored) {
      OnPartArrived(transfer, transfer->assembling++, std::exchange(buffer, {}));
    }
  }
  return true;
}

void Scheduler::Impl::OnPartArrived(const TransferPointer& transfer, size_t part, Bytes stored) {
  const FlightPointer flight = transfer->parts[part].flight;
  FetchClass fetch_class = FetchClass::kDemand;
  const bool wanted = core.With([&](SchedulerCore& c) {
    fetch_class = flight->fetch_class;
    return c.OnArrived(transfer, part);
  });
  if (wanted) {
    workers->Submit(fetch_class, [this, flight, fetch_class, bytes = std::move(stored)] {
      Decode(flight, bytes, fetch_class);
    });
  }
}

void Scheduler::Impl::OnDone(const TransferPointer& transfer, const TransferResult& result) {
  // On a worker, because waiters may be told, and the destructor waits for the workers.
  workers->Submit(FetchClass::kDemand, [this, transfer, result] {
    Actions actions;
    core.WithNotify(
        [&](SchedulerCore& c) { c.OnTransferDone(transfer, result, clock.Now(), actions); });
    Run(std::move(actions));
    wake.Notify();
  });
}

void Scheduler::Impl::Decode(const FlightPointer& flight, const Bytes& stored,
                             FetchClass fetch_class) {
  Result<SharedBytes> content = DecodeChunk(flight->chunk, stored);
  if (content.has_value() && (flight->object == nullptr || !Store(*flight, **content)) &&
      fetch_class != FetchClass::kFill) {
    unkept.Put(flight->chunk.digest, *content);
  }
  Decoded(flight, std::move(content));
  Finish(flight->object);
}

void Scheduler::Impl::Finish(const std::shared_ptr<CachedObject>& object) {
  if (object == nullptr || !object->TakeUnfinished()) return;
  workers->Submit(FetchClass::kFill, [this, object] {
    if (stopping.load()) return;  // Who opens it next finishes it.
    const Status finished = object->Finish();
    if (!finished.has_value()) LogWarning("cache: " + finished.error().context);
  });
}

void Scheduler::Impl::Decoded(const FlightPointer& flight, Result<SharedBytes> result) {
  Actions actions;
  core.WithNotify(
      [&](SchedulerCore& c) { c.OnDecoded(flight, std::move(result), clock.Now(), actions); });
  Run(std::move(actions));
  wake.Notify();
}

// What the cache does not take is handed on all the same. One line says so: a full disk takes one
// chunk and refuses the next, and would fill the log too.
bool Scheduler::Impl::Store(const Flight& flight, ByteSpan content) {
  CachedObject& object = *flight.object;
  const bool is_object =
      object.id().digest == flight.chunk.digest && object.id().size == content.size();
  const Status stored =
      is_object ? object.WriteWhole(content) : object.Write(flight.key.object_offset, content);
  if (stored.has_value()) {
    NoteForOthers(flight);
  } else if (!warned_uncached.exchange(true)) {
    LogWarning("image " + flight.blob->image +
               ": reading without the cache: " + stored.error().context);
  }
  return stored.has_value();
}

void Scheduler::Impl::ReadAtHand(const AtHand& at_hand) {
  const Flight& flight = *at_hand.flight;
  const uint64_t offset = flight.key.object_offset;
  Result<SharedBytes> content = Fail(ErrorCode::kIo, "");
  if (at_hand.candidate) {
    content = flight.object->AdoptCandidate(flight.chunk.digest, offset, flight.chunk.size);
    if (content.has_value()) NoteForOthers(flight);
  } else {
    auto bytes = std::make_shared<Bytes>(flight.chunk.size);
    const Status read = flight.object->Read(offset, *bytes);
    if (read.has_value()) {
      content = SharedBytes(std::move(bytes));
    } else {
      // A disk that fails would say so of every object.
      const std::string line = read.error().context + "; it is dropped and fetched again";
      warned_unreadable.exchange(true) ? LogDebug(line) : LogWarning(line);
      flight.object->Discard();
      content = Fail(read.error());
    }
  }
  Actions actions;
  core.WithNotify(
      [&](SchedulerCore& c) { c.OnRead(at_hand, std::move(content), clock.Now(), actions); });
  Run(std::move(actions));
  wake.Notify();
  Finish(flight.object);
}

// A chunk that is an object by itself is found by its digest anyway.
void Scheduler::Impl::NoteForOthers(const Flight& flight) {
  if (flight.chunk.digest == flight.object->id().digest) return;
  flight.object->NoteChunk(flight.chunk.digest, flight.key.object_offset, flight.chunk.size);
}

void Scheduler::Impl::Look(const FlightPointer& flight) {
  const CacheAnswer answer = Ask(*flight);
  Actions actions;
  const bool at_hand =
      core.With([&](SchedulerCore& c) { return c.OnLooked(flight, answer, clock.Now(), actions); });
  Run(std::move(actions));
  if (at_hand) {
    const AtHand chunk{flight, answer == CacheAnswer::kCandidate};
    workers->Submit(FetchClass::kDemand, [this, chunk] { ReadAtHand(chunk); });
  }
  wake.Notify();
}

Scheduler::Scheduler(Options options) : impl_(std::make_unique<Impl>(options)) {}
Scheduler::~Scheduler() = default;

Scheduler::WaiterId Scheduler::Fetch(ChunkRequest request, ChunkDone done) {
  const WaiterId waiter = impl_->Submit(std::move(request), std::move(done));
  if (waiter != 0) impl_->Send();
  return waiter;
}

void Scheduler::FetchTogether(std::vector<Wanted> all) {
  for (Wanted& wanted : all) impl_->Submit(std::move(wanted.request), std::move(wanted.done));
  impl_->Send();
}

void Scheduler::Abandon(WaiterId waiter) {
  Actions actions;
  impl_->core.With([&](SchedulerCore& core) { core.Abandon(waiter, actions); });
  impl_->Run(std::move(actions));
}

Result<SharedBytes> Scheduler::FetchAndWait(ChunkRequest request) {
  auto answer = std::make_shared<Synchronized<std::optional<Result<SharedBytes>>>>();
  Fetch(std::move(request), [answer](Result<SharedBytes> result) {
    answer->WithNotify([&](auto& slot) { slot = std::move(result); });
  });
  return answer->WaitThen([](auto& slot) { return slot.has_value(); },
                          [](auto& slot) { return std::move(*slot); });
}

void Scheduler::ForgetUnkept() { impl_->unkept.Clear(); }

SchedulerStatistics Scheduler::Statistics() const {
  return impl_->core.With([](const SchedulerCore& core) { return core.Statistics(); });
}

void Scheduler::Finish(const std::shared_ptr<CachedObject>& object) { impl_->Finish(object); }

}  // namespace layerfs

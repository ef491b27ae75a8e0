// SPDX-License-Identifier: Apache-2.0
#include "fetch/registry_blob_source.h"

#include <optional>
#include <utility>
#include <vector>

#include "fetch/range_filter.h"
#include "fetch/whole_blob.h"
#include "index/base/log.h"

namespace layerfs {
namespace {

// Who brought which range, for when its bytes turn out to be wrong.
constexpr size_t kRangesRemembered = 256;
// A member that has been asked so long ago, while another has answered a later question by now, is
// in trouble.
constexpr std::chrono::seconds kLate{2};

struct Brought {
  BlobRange range;
  size_t member;
};

bool Covers(const BlobRange& outer, const BlobRange& inner) {
  return outer.blob == inner.blob && outer.offset <= inner.offset &&
         inner.offset + inner.size <= outer.offset + outer.size;
}

}  // namespace

// What the transfers and their source have in common.
struct RegistryBlobSource::Shared {
  struct State {
    TransferId next_id = 1;
    std::map<TransferId, std::shared_ptr<RangeTransfer>> running;
    std::deque<Brought> brought;
    // Blobs from servers that know no ranges.
    std::map<Digest, std::shared_ptr<WholeBlob>> wholes;
    bool keeps_wholes = true;  // until the disk does not take one
  };
  std::shared_ptr<WholeBlob> FindWhole(const Digest& blob) {
    return state.With([&](State& s) {
      const auto found = s.wholes.find(blob);
      return found != s.wholes.end() ? found->second : nullptr;
    });
  }
  std::shared_ptr<WholeBlob> FindOrMakeWhole(const BlobRange& range);
  void DropWhole(const Digest& blob);
  void NoteBrought(const BlobRange& range, size_t member) {
    state.With([&](State& s) {
      s.brought.push_back({range, member});
      if (s.brought.size() > kRangesRemembered) s.brought.pop_front();
    });
  }

  RegistryContext* context = nullptr;  // outlives every call
  std::shared_ptr<RegistryMembers> members;
  Clock* clock = nullptr;
  Synchronized<State> state;
};

// Null where it cannot be kept: then each range streams the blob for itself. The HTTP loop thread
// only.
std::shared_ptr<WholeBlob> RegistryBlobSource::Shared::FindOrMakeWhole(const BlobRange& range) {
  auto whole = FindWhole(range.blob);
  if (whole != nullptr || !state.With([](const State& s) { return s.keeps_wholes; })) return whole;
  auto made = WholeBlob::Create(range.blob_size);
  if (made.has_value()) {
    whole = std::move(*made);
    state.With([&](State& s) { s.wholes[range.blob] = whole; });
    return whole;
  }
  state.With([](State& s) { s.keeps_wholes = false; });
  LogWarning("blob " + range.blob.ToString() +
             ": the server sends all of it for each part, and it cannot be kept: " +
             made.error().context + "; set TMPDIR to a directory with room");
  return nullptr;
}

void RegistryBlobSource::Shared::DropWhole(const Digest& blob) {
  const auto dropped = state.With([&](State& s) {
    const auto found = s.wholes.find(blob);
    if (found == s.wholes.end()) return std::shared_ptr<WholeBlob>();
    auto whole = std::move(found->second);
    s.wholes.erase(found);
    return whole;
  });
  if (dropped != nullptr) dropped->Abandon();
}

// One range on its way: an attempt at each member in turn until one answers.
// The callbacks are the HTTP loop thread's; Begin and Cancel may be anybody's.
class RegistryBlobSource::RangeTransfer : public std::enable_shared_from_this<RangeTransfer> {
 public:
  RangeTransfer(std::shared_ptr<Shared> shared, TransferId id, const BlobRange& range,
                FetchClass fetch_class, BlobSink sink, std::string name)
      : shared_(std::move(shared)),
        id_(id),
        range_(range),
        fetch_class_(fetch_class),
        sink_(std::move(sink)),
        name_(std::move(name)),
        filter_(std::in_place, range.offset, range.size, range.blob_size) {}

  void Begin(std::vector<size_t> order) {
    order_ = std::move(order);
    const auto whole = shared_->FindWhole(range_.blob);
    const bool posted =
        whole != nullptr && shared_->context->Post([self = shared_from_this(), whole] {
          // Cancelled meanwhile, it has its end from Detach.
          if (!whole->Serves(self->range_.offset + self->range_.size)) return self->Attempt();
          self->Attach(whole);
        });
    if (!posted) Attempt();
  }

  void Cancel() {
    const Running running = running_.With([](Running& r) {
      r.cancelled = true;
      return r;
    });
    if (running.host != nullptr && !running.attached) return running.host->Cancel(running.call);
    const auto whole = shared_->FindWhole(range_.blob);
    if (whole == nullptr) return;
    shared_->context->Post([id = id_, whole] { whole->Detach(id); });
  }

  const BlobRange& range() const { return range_; }
  // The member that is being asked, if it makes wait: it has not said anything, or `slow`.
  std::optional<size_t> member_waited_for(bool slow) const {
    return running_.With(
        [&](const Running& r) { return r.silent || slow ? r.member : std::nullopt; });
  }
  // The same, if that has been so for long.
  std::optional<size_t> late_member(TimePoint now) const {
    return running_.With(
        [&](const Running& r) { return now - r.asked_at >= kLate ? r.member : std::nullopt; });
  }

 private:
  struct Running {
    RegistryHost* host = nullptr;
    RegistryHost::CallId call = 0;
    size_t attempt = 0;
    std::optional<size_t> member;
    TimePoint asked_at;
    bool silent = false;
    bool attached = false;  // to a WholeBlob
    bool cancelled = false;
  };

  void Attempt() {
    const size_t member = order_[attempt_];
    RegistryMembers& members = *shared_->members;
    RegistryHost& host = members.host(member);
    const std::string& repository = members.repository(member);
    const std::string blob = range_.blob.ToString();
    RegistryCall call;
    call.url = host.UrlOf(repository, "blobs/" + blob);
    const std::string header = filter_->RangeHeader();
    if (!header.empty()) call.headers.emplace_back("Range", header);
    call.fetch_class = fetch_class_;
    const bool last = attempt_ + 1 == order_.size();
    if (!last && members.is_mirror(member)) {
      call.silence_timeout = shared_->context->silence_timeout();
    }
    call.scopes = {PullScope(repository)};
    call.repository = repository;
    call.redirect_key = repository + "@" + blob;
    const size_t attempt = attempt_;
    running_.With([&](Running& r) {
      r.member = member;
      r.asked_at = shared_->clock->Now();
      r.silent = true;
    });
    const auto self = shared_from_this();
    const RegistryHost::CallId id = host.Start(
        std::move(call), {.on_head = [self](const HttpHead& head) { return self->OnHead(head); },
                          .on_data = [self](ByteSpan data) { return self->OnData(data); },
                          .on_done = [self](const RegistryResult& r) { self->OnDone(r); }});
    // The answer may have come, and the next attempt begun, by now.
    const bool cancelled = running_.With([&](Running& r) {
      if (attempt >= r.attempt) {
        r.attempt = attempt;
        r.host = &host;
        r.call = id;
      }
      return r.cancelled;
    });
    if (cancelled) host.Cancel(id);
  }

  bool OnHead(const HttpHead& head) {
    const bool cancelled = running_.With([](Running& r) {
      r.silent = false;
      return r.cancelled;
    });
    if (cancelled) return false;
    if (Status checked = filter_->CheckHead(head); !checked) {
      failure_ = std::move(checked).error();
      return false;
    }
    if (!filter_->unasked_whole()) return true;
    const auto whole = shared_->FindOrMakeWhole(range_);
    if (whole == nullptr) return true;
    // Where another answer brings the blob already, this one is not needed.
    left_to_ = whole;
    carries_ = !whole->carried();
    if (carries_) whole->BeginCarrying();
    Attach(whole);
    return carries_;
  }

  // The range comes from there, and with it this transfer's end.
  void Attach(const std::shared_ptr<WholeBlob>& whole) {
    const bool cancelled = running_.With([](Running& r) {
      r.attached = true;
      return r.cancelled;
    });
    whole->Attach(id_, {.offset = range_.offset,
                        .end = range_.offset + range_.size,
                        .on_data =
                            [self = shared_from_this()](ByteSpan data) {
                              self->NoteDelivery();
                              return self->sink_.on_data(data);
                            },
                        .on_done =
                            [self = shared_from_this()](const Status& status) {
                              // Without times: it had no answer of its own.
                              TransferResult result;
                              result.status = status;
                              result.body_bytes = status ? self->range_.size : 0;
                              self->Finish(std::move(result), self->order_[self->attempt_]);
                            }});
    if (cancelled) whole->Detach(id_);
  }

  // Before the bytes are handed on: they may be found wrong before their answer has ended.
  void NoteDelivery() {
    if (std::exchange(delivered_, true) || shared_->members->size() == 1) return;
    shared_->NoteBrought(range_, order_[attempt_]);
  }

  BodyFlow OnData(ByteSpan data) {
    if (left_to_ != nullptr) return left_to_->OnData(data) ? BodyFlow::kTaken : BodyFlow::kStop;
    const ByteSpan wanted = filter_->Take(data);
    if (!wanted.empty()) {
      NoteDelivery();
      if (!sink_.on_data(wanted)) {
        failure_ = Error{ErrorCode::kCancelled, "the read was stopped"};
        return BodyFlow::kStop;
      }
    }
    // A whole blob, or more than was asked for: the rest need not come. An
    // exact answer goes on to its own end, which keeps the connection.
    const bool surplus = wanted.size() < data.size();
    return filter_->complete() && surplus ? BodyFlow::kStop : BodyFlow::kTaken;
  }

  void OnDone(const RegistryResult& result) {
    const size_t member = order_[attempt_];
    if (left_to_ != nullptr) return EndCarrying(result, member);
    const Status status = Outcome(result);
    if (status) {
      shared_->members->NoteSuccess(member);
      if (range_.hedge) NoteLate();
    } else {
      shared_->members->NoteFailure(member, status.error(), shared_->clock->Now());
      const bool cancelled = status.error().code == ErrorCode::kCancelled ||
                             running_.With([](const Running& r) { return r.cancelled; });
      if (!cancelled && !delivered_ && attempt_ + 1 < order_.size()) {
        ++attempt_;
        failure_.reset();
        filter_.emplace(range_.offset, range_.size, range_.blob_size);
        return Attempt();
      }
    }
    TransferResult transfer;
    transfer.status = status;
    transfer.retry_after = result.retry_after;
    transfer.first_byte = result.http.first_byte;
    transfer.total = result.http.total;
    transfer.body_bytes = result.http.body_bytes;
    transfer.new_connection = result.http.new_connection;
    Finish(std::move(transfer), member);
  }

  // Whoever has been asked for the same long ago, and has not brought it, is left out for a while.
  void NoteLate() const {
    const TimePoint now = shared_->clock->Now();
    const auto late = shared_->state.With([&](const Shared::State& state) {
      std::vector<size_t> members;
      for (const auto& [id, other] : state.running) {
        const auto member = other->late_member(now);
        if (id == id_ || !member.has_value() || *member == order_[attempt_]) continue;
        if (Covers(other->range(), range_)) members.push_back(*member);
      }
      return members;
    });
    for (const size_t member : late) {
      const Error error{ErrorCode::kTimeout, "it is slower by far than another", true};
      shared_->members->NoteFailure(member, error, now);
    }
  }

  // The answer has ended that brought a whole blob, or would have brought it a second time.
  void EndCarrying(const RegistryResult& result, size_t member) {
    if (!carries_) return;
    const Status& status = result.http.status;
    if (status) {
      shared_->members->NoteSuccess(member);
    } else {
      shared_->members->NoteFailure(member, status.error(), shared_->clock->Now());
    }
    left_to_->EndCarrying(status);
    if (!left_to_->disk_failed()) return;
    shared_->state.With([](Shared::State& state) { state.keeps_wholes = false; });
    shared_->DropWhole(range_.blob);
  }

  void Finish(TransferResult transfer, size_t member) {
    if (!transfer.status) {
      Error error = transfer.status.error().In(name_);
      // What one member would not give, another may.
      const bool mirror = member != order_.back() || order_.size() < shared_->members->size();
      if (mirror && error.code != ErrorCode::kCancelled) error.retryable = true;
      transfer.status = Fail(std::move(error));
    }
    shared_->state.With([&](Shared::State& state) { state.running.erase(id_); });
    sink_.on_done(transfer);
  }

  Status Outcome(const RegistryResult& result) const {
    if (failure_) return Fail(*failure_);
    if (filter_->complete()) return {};  // whatever happened to the rest of the body
    if (!result.http.status) return result.http.status;
    return Fail(filter_->ShortBody());
  }

  const std::shared_ptr<Shared> shared_;
  const TransferId id_;
  const BlobRange range_;
  const FetchClass fetch_class_;
  const BlobSink sink_;
  const std::string name_;
  Synchronized<Running> running_;
  // Before Begin returns its caller's, then the loop thread's.
  std::vector<size_t> order_;
  size_t attempt_ = 0;
  std::optional<RangeFilter> filter_;
  std::optional<Error> failure_;
  bool delivered_ = false;
  std::shared_ptr<WholeBlob> left_to_;  // where the answer's body goes
  bool carries_ = false;
};

RegistryBlobSource::RegistryBlobSource(std::shared_ptr<RegistryContext> context,
                                       std::shared_ptr<RegistryMembers> members, std::string name)
    : context_(std::move(context)), name_(std::move(name)), shared_(std::make_shared<Shared>()) {
  shared_->context = context_.get();
  shared_->members = std::move(members);
  shared_->clock = &context_->clock();
}

RegistryBlobSource::~RegistryBlobSource() {
  const auto wholes = shared_->state.With([](Shared::State& state) {
    state.keeps_wholes = false;
    return state.wholes;
  });
  for (const auto& [blob, whole] : wholes) {
    if (whole != nullptr) whole->Abandon();
  }
}

BlobSource::TransferId RegistryBlobSource::Start(const BlobRange& range, FetchClass fetch_class,
                                                 BlobSink sink) {
  size_t avoid = SIZE_MAX;
  std::shared_ptr<RangeTransfer> transfer;
  const TransferId id = shared_->state.With([&](Shared::State& state) {
    // The same again while the first makes wait wants another member.
    for (const auto& [other_id, other] : state.running) {
      const auto waited_for = other->member_waited_for(range.hedge);
      if (waited_for.has_value() && Covers(other->range(), range)) avoid = *waited_for;
    }
    const TransferId next = state.next_id++;
    transfer = std::make_shared<RangeTransfer>(shared_, next, range, fetch_class, std::move(sink),
                                               name_ + ": blob " + range.blob.ToString() +
                                                   ": range " + std::to_string(range.offset) + "+" +
                                                   std::to_string(range.size));
    state.running.emplace(next, transfer);
    return next;
  });
  transfer->Begin(
      shared_->members->Order(RegistryMembers::Purpose::kDigest, shared_->clock->Now(), avoid));
  return id;
}

void RegistryBlobSource::Cancel(TransferId transfer) {
  const auto running = shared_->state.With([&](Shared::State& state) {
    const auto it = state.running.find(transfer);
    return it != state.running.end() ? it->second : nullptr;
  });
  if (running != nullptr) running->Cancel();
}

void RegistryBlobSource::Distrust(const BlobRange& range) {
  shared_->DropWhole(range.blob);
  const auto member = shared_->state.With([&](Shared::State& state) -> std::optional<size_t> {
    if (shared_->members->size() == 1) return 0;  // Nobody else is noted.
    for (auto it = state.brought.rbegin(); it != state.brought.rend(); ++it) {
      if (Covers(it->range, range)) return it->member;
    }
    return std::nullopt;
  });
  if (!member.has_value()) return;
  shared_->members->Distrust(*member, shared_->clock->Now());
  // It may have been an object store behind it.
  RegistryHost& host = shared_->members->host(*member);
  shared_->context->Post([&host] { host.ForgetRedirects(); });
}

}  // namespace layerfs

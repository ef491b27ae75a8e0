// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_feed.h"

#include <algorithm>
#include <string>

#include "fetch/backoff.h"

namespace layerfs {
namespace {

constexpr size_t kBlockBytes = size_t{2} << 20;  // a huge page

}  // namespace

void StartupFeed::Store::Add(ByteSpan data) {
  size_ += data.size();
  while (!data.empty()) {
    if (blocks_.empty() || back_filled_ == kBlockBytes) {
      blocks_.push_back(spare_.data() != nullptr ? std::move(spare_) : LargeBuffer(kBlockBytes));
      back_filled_ = 0;
    }
    const size_t part = std::min(data.size(), kBlockBytes - back_filled_);
    std::ranges::copy(data.first(part), blocks_.back().data() + back_filled_);
    back_filled_ += part;
    data = data.subspan(part);
  }
}

void StartupFeed::Store::Take(MutableByteSpan out) {
  size_ -= out.size();
  while (!out.empty()) {
    const size_t part = std::min(out.size(), kBlockBytes - front_used_);
    std::copy_n(blocks_.front().data() + front_used_, part, out.begin());
    front_used_ += part;
    out = out.subspan(part);
    if (front_used_ < kBlockBytes) continue;
    if (spare_.data() == nullptr) spare_ = std::move(blocks_.front());
    blocks_.pop_front();
    front_used_ = 0;
  }
}

void StartupFeed::Start() {
  state_.With([](State& state) { state.started = SteadyClock().Now(); });
  StartTransfer();
}

void StartupFeed::StartTransfer() {
  const uint64_t from = state_.With([](State& state) {
    state.ended.reset();
    return state.received;
  });
  const auto self = shared_from_this();
  const BlobRange range{blob_, blob_size_, from, blob_size_ - from};
  BlobSink sink;
  sink.on_data = [self](ByteSpan data) {
    std::shared_ptr<const std::function<void(uint64_t)>> observer;
    uint64_t received = 0;
    const bool wanted = self->state_.WithNotify([&](State& state) {
      if (state.received == 0) state.first_byte = SteadyClock().Now() - state.started;
      state.store.Add(data);
      state.received += data.size();
      received = state.received;
      observer = state.observer;
      return !state.cancelled;
    });
    if (observer != nullptr) (*observer)(received);
    return wanted;
  };
  sink.on_done = [self](const TransferResult& result) {
    self->state_.WithNotify([&](State& state) { state.ended = result; });
  };
  const auto id = source_->Start(range, FetchClass::kDemand, std::move(sink));
  const bool unwanted = state_.With([&](State& state) {
    state.transfer = id;
    return state.cancelled;
  });
  if (unwanted) source_->Cancel(id);
}

Result<Bytes> StartupFeed::Take(uint64_t size) {
  Backoff backoff(SteadyClock(), {.timeout = timeout_});
  while (true) {
    std::optional<TransferResult> broken;
    auto taken = state_.WaitThen(
        [&](State& state) {
          return state.cancelled || state.store.size() >= size || state.ended.has_value();
        },
        [&](State& state) -> std::optional<Bytes> {
          if (state.cancelled) return std::nullopt;
          if (state.store.size() < size) {
            broken = state.ended;
            return std::nullopt;
          }
          Bytes bytes(size);
          state.store.Take(bytes);
          if (state.received == blob_size_ && state.store.size() == 0) state.store = {};
          return bytes;
        });
    if (taken.has_value()) return std::move(*taken);
    if (!broken.has_value()) return Fail(ErrorCode::kCancelled, "it is not wanted any more");
    const Error error =
        broken->status.has_value()
            ? Error{ErrorCode::kCorrupt, "blob " + blob_.ToString() + ": ends early"}
            : broken->status.error();
    const auto wait = backoff.NextWait(error, broken->retry_after);
    if (!wait.has_value()) return Fail(error);
    state_.WaitFor(*wait, [](const State& state) { return state.cancelled; });
    StartTransfer();
  }
}

void StartupFeed::Cancel() {
  const auto transfer = state_.WithNotify([](State& state) {
    state.cancelled = true;
    return state.transfer;
  });
  if (transfer != 0) source_->Cancel(transfer);
}

void StartupFeed::SetObserver(std::function<void(uint64_t received)> observer) {
  auto shared = std::make_shared<const std::function<void(uint64_t)>>(std::move(observer));
  state_.With([&](State& state) { state.observer = std::move(shared); });
}

uint64_t StartupFeed::received() const {
  return state_.With([](const State& state) { return state.received; });
}

Duration StartupFeed::first_byte() const {
  return state_.With([](const State& state) { return state.first_byte; });
}

}  // namespace layerfs

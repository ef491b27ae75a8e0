// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_feed.h"

#include <algorithm>
#include <string>

#include "fetch/backoff.h"

namespace layerfs {

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
      state.pieces.emplace_back(data.begin(), data.end());
      state.waiting_bytes += data.size();
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
          return state.cancelled || state.waiting_bytes >= size || state.ended.has_value();
        },
        [&](State& state) -> std::optional<Bytes> {
          if (state.cancelled) return std::nullopt;
          if (state.waiting_bytes < size) {
            broken = state.ended;
            return std::nullopt;
          }
          Bytes bytes;
          bytes.reserve(size);
          while (bytes.size() < size) {
            const ByteSpan front = ByteSpan(state.pieces.front()).subspan(state.front_used);
            const size_t take = std::min<size_t>(front.size(), size - bytes.size());
            bytes.insert(bytes.end(), front.begin(), front.begin() + static_cast<ptrdiff_t>(take));
            state.front_used += take;
            if (take < front.size()) break;
            state.pieces.pop_front();
            state.front_used = 0;
          }
          state.waiting_bytes -= size;
          return bytes;
        });
    if (taken.has_value()) return std::move(*taken);
    if (!broken.has_value()) return Fail(ErrorCode::kCancelled, "it is not wanted any more");
    const Error error =
        broken->status.has_value()
            ? Error{ErrorCode::kCorrupt, "blob " + blob_.ToString() + ": ends early"}
            : broken->status.error();
    if (!backoff.WaitAfter(error, broken->retry_after)) return Fail(error);
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

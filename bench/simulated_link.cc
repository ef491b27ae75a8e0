// SPDX-License-Identifier: Apache-2.0
#include "bench/simulated_link.h"

#include <algorithm>

namespace layerfs {
namespace {

constexpr uint64_t kQuantum = 16 * 1024;  // what curl hands on at a time
constexpr auto kTick = std::chrono::microseconds(100);

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

const std::vector<LinkProfile>& LinkProfiles() {
  using std::chrono::microseconds;
  using std::chrono::milliseconds;
  static const std::vector<LinkProfile> profiles = {
      {"lan", microseconds(200), 1.25e9, 0},
      {"cloud", milliseconds(2), 125e6, 0},
      {"wan", milliseconds(30), 12.5e6, 0},
      {"bad", milliseconds(150), 1.25e6, 0.01},
  };
  return profiles;
}

SimulatedLink::SimulatedLink(LinkProfile profile, std::shared_ptr<const Bytes> blob)
    : profile_(std::move(profile)),
      blob_(std::move(blob)),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

SimulatedLink::~SimulatedLink() { thread_.request_stop(); }

BlobSource::TransferId SimulatedLink::Start(const BlobRange& range, FetchClass, BlobSink sink) {
  auto transfer = std::make_shared<Transfer>();
  transfer->range = range;
  transfer->sink = std::move(sink);
  transfer->started = std::chrono::steady_clock::now();
  transfer->first_byte_at = transfer->started + profile_.round_trip;
  return state_.With([&](State& state) {
    std::uniform_real_distribution<double> share(0, 1);
    if (share(state.random) < profile_.broken_share) {
      transfer->breaks_at =
          static_cast<uint64_t>(share(state.random) * static_cast<double>(range.size));
    }
    state.transfers.emplace(state.next, std::move(transfer));
    return state.next++;
  });
}

void SimulatedLink::Cancel(TransferId id) {
  state_.With([&](State& state) {
    const auto found = state.transfers.find(id);
    if (found != state.transfers.end()) found->second->cancelled = true;
  });
}

void SimulatedLink::Run(const std::stop_token& stop) {
  TimePoint last = std::chrono::steady_clock::now();
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(kTick);
    const TimePoint now = std::chrono::steady_clock::now();
    Step(now - last);
    last = now;
  }
}

void SimulatedLink::Step(Duration elapsed) {
  const auto transfers = state_.With([](State& state) { return state.transfers; });
  std::vector<std::pair<TransferId, Transfer*>> active;
  const TimePoint now = std::chrono::steady_clock::now();
  for (const auto& [id, transfer] : transfers) {
    if (transfer->cancelled) {
      End(id, *transfer, Fail(ErrorCode::kCancelled, "cancelled"));
    } else if (transfer->first_byte_at <= now) {
      active.emplace_back(id, transfer.get());
    }
  }
  if (active.empty()) {
    credit_ = 0;  // A link that idles saves nothing up.
    return;
  }
  credit_ += Seconds(elapsed) * profile_.bytes_per_second;
  while (credit_ >= 1 && !active.empty()) {
    const uint64_t share =
        std::clamp<uint64_t>(static_cast<uint64_t>(credit_) / active.size(), 1, kQuantum);
    for (auto entry = active.begin(); entry != active.end() && credit_ >= 1;) {
      const bool more = Send(*entry->second, share);
      if (!more) {
        Transfer& transfer = *entry->second;
        const bool broken =
            transfer.sent >= transfer.breaks_at && transfer.sent < transfer.range.size;
        End(entry->first, transfer,
            broken ? Status(Fail(ErrorCode::kNetwork, "connection reset", true)) : Status());
      }
      entry = more ? entry + 1 : active.erase(entry);
    }
  }
}

// Whether there is more to send.
bool SimulatedLink::Send(Transfer& transfer, uint64_t bytes) {
  const uint64_t end = std::min(transfer.range.size, transfer.breaks_at);
  const uint64_t size = std::min(bytes, end - std::min(end, transfer.sent));
  const auto begin = blob_->data() + transfer.range.offset + transfer.sent;
  transfer.sent += size;
  credit_ -= static_cast<double>(size);
  sent_.fetch_add(size);
  if (size > 0 && !transfer.sink.on_data(ByteSpan(begin, size))) return false;
  return transfer.sent < end;
}

void SimulatedLink::End(TransferId id, Transfer& transfer, Status status) {
  state_.With([&](State& state) { state.transfers.erase(id); });
  TransferResult result;
  result.status = std::move(status);
  result.first_byte = std::chrono::duration_cast<std::chrono::microseconds>(profile_.round_trip);
  result.body_bytes = transfer.sent;
  result.total = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - transfer.started);
  transfer.sink.on_done(result);
}

}  // namespace layerfs

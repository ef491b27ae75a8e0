// SPDX-License-Identifier: Apache-2.0
// What the tests of the scheduler's core have in common.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fetch/scheduler_core.h"
#include "tests/fetch/fake_source.h"

namespace layerfs {

inline constexpr uint32_t kStored = 100'000;

// A core with one source, and a link of a given speed on which transfers take the time they should.
class SchedulerCoreTest : public testing::Test {
 protected:
  SchedulerCoreTest() : core_({uint64_t{64} << 20}, 42) {
    source_ = std::make_shared<FakeSource>(Bytes{});
    blob_ = MakeBlob("blob");
  }
  std::shared_ptr<SourceBlob> MakeBlob(std::string_view name) const {
    return std::make_shared<SourceBlob>(
        SourceBlob{source_, Digest::Of(AsBytes(name)), uint64_t{1} << 40, "image"});
  }
  // The chunk at place `i` of a blob whose chunks are `kStored` long and `gap` apart.
  ChunkRequest RequestOf(uint64_t i, FetchClass fetch_class, uint64_t gap = 0) const {
    ChunkRequest request;
    request.blob = blob_;
    request.chunk = {Digest::Of(AsBytes(std::to_string(i))), i * (kStored + gap), kStored, kStored,
                     ChunkCodec::kStored};
    request.fetch_class = fetch_class;
    return request;
  }
  Scheduler::WaiterId Submit(uint64_t i, FetchClass fetch_class, uint64_t gap = 0) {
    return core_.Submit(RequestOf(i, fetch_class, gap), [](const Result<SharedBytes>&) {}, now_);
  }
  // The next transfer, started.
  TransferPointer Start() {
    TransferPointer transfer = core_.Plan(now_);
    if (transfer == nullptr) return nullptr;
    std::vector<AtHand> at_hand;
    const std::vector<CacheAnswer> answers(transfer->parts.size(), CacheAnswer::kFetch);
    EXPECT_TRUE(core_.Admit(transfer, answers, at_hand, now_, actions_));
    EXPECT_TRUE(core_.OnStarted(transfer, next_source_id_++));
    return transfer;
  }
  std::vector<TransferPointer> StartAll() {
    std::vector<TransferPointer> started;
    while (TransferPointer transfer = Start()) started.push_back(std::move(transfer));
    return started;
  }
  void Arrive(const TransferPointer& transfer) {
    for (size_t i = 0; i < transfer->parts.size(); ++i) {
      const FlightPointer flight = transfer->parts[i].flight;
      if (core_.OnArrived(transfer, i)) {
        core_.OnDecoded(flight, std::make_shared<const Bytes>(), now_, actions_);
      }
    }
  }
  void End(const TransferPointer& transfer, std::chrono::microseconds first_byte,
           Status status = {},
           std::optional<std::chrono::milliseconds> retry_after = std::nullopt) {
    TransferResult result;
    result.status = std::move(status);
    result.retry_after = retry_after;
    result.first_byte = first_byte;
    result.body_bytes = transfer->received.load();
    core_.OnTransferDone(transfer, result, now_, actions_);
  }
  // Teaches the core the link by transfers, one after the other, from `first_chunk` on.
  void Learn(Duration round_trip, double bytes_per_second, uint64_t first_chunk = 1'000'000,
             FetchClass fetch_class = FetchClass::kFill) {
    for (uint64_t i = 0; i < 20; ++i) {
      Submit(first_chunk + 2 * i, fetch_class);
      const TransferPointer transfer = Start();
      ASSERT_NE(nullptr, transfer);
      // As if others had used the link fully meanwhile.
      const Duration took =
          round_trip + std::chrono::duration_cast<Duration>(
                           std::chrono::duration<double>(kStored / bytes_per_second));
      now_ += took;
      transfer->received.store(kStored);
      transfer->link->received.fetch_add(
          static_cast<uint64_t>(std::chrono::duration<double>(took).count() * bytes_per_second));
      Arrive(transfer);
      End(transfer, std::chrono::duration_cast<std::chrono::microseconds>(round_trip));
    }
  }
  static uint64_t RangeBytes(const std::vector<TransferPointer>& transfers) {
    uint64_t bytes = 0;
    for (const TransferPointer& transfer : transfers) bytes += transfer->range.size;
    return bytes;
  }

  std::shared_ptr<FakeSource> source_;
  std::shared_ptr<SourceBlob> blob_;
  SchedulerCore core_;
  TimePoint now_{std::chrono::hours(1)};
  Actions actions_;
  uint64_t next_source_id_ = 1;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// What the scheduler's tests have in common: one scheduler with a cache, over a source that answers
// when it is told to.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "fetch/scheduler.h"
#include "tests/fetch/fake_source.h"

namespace layerfs {

inline constexpr size_t kChunkBytes = 16 * kCachePageBytes;

class SchedulerTest : public testing::Test {
 protected:
  explicit SchedulerTest(TestBlob blob = TestBlob::OfChunks(8, kChunkBytes))
      : blob_(std::move(blob)) {
    content_.reserve(blob_.contents.size() * kChunkBytes);
    for (const Bytes& chunk : blob_.contents) {
      content_.insert(content_.end(), chunk.begin(), chunk.end());
    }
    source_ = std::make_shared<FakeSource>(blob_.bytes);
    source_blob_ = std::make_shared<SourceBlob>(
        SourceBlob{source_, Digest::Of(blob_.bytes), blob_.bytes.size(), "example.com/app:1"});
    cache_ = OpenCache(directory_ / "cache");
    object_ = OpenObject(*cache_, IdOf(content_));
    scheduler_ = std::make_unique<Scheduler>(
        Scheduler::Options{.workers = 2, .memory_bytes = 64 << 20, .clock = &clock_});
  }
  ~SchedulerTest() override { StopScheduler(); }

  void StopScheduler() {
    if (scheduler_ == nullptr) return;
    // A real source ends what is cancelled from a thread of its own.
    std::jthread source_thread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        source_->EndCancelled();
        std::this_thread::yield();
      }
    });
    scheduler_.reset();
  }

  ChunkRequest RequestOf(size_t chunk, FetchClass fetch_class = FetchClass::kDemand) {
    ChunkRequest request;
    request.blob = source_blob_;
    request.chunk = blob_.chunks[chunk];
    request.object = object_;
    request.object_offset = chunk * kChunkBytes;
    request.fetch_class = fetch_class;
    request.reason = "file /bin/app";
    return request;
  }
  Scheduler::WaiterId Fetch(Answer& answer, size_t chunk,
                            FetchClass fetch_class = FetchClass::kDemand) {
    return scheduler_->Fetch(RequestOf(chunk, fetch_class), answer.Done());
  }
  // Lets time pass until there are `count` requests, slowly enough that the threads keep up.
  bool AdvanceUntilRequests(size_t count) {
    return AdvanceUntil([&] { return source_->request_count() >= count; });
  }
  bool AdvanceUntil(const std::function<bool()>& reached) {
    const auto give_up = std::chrono::steady_clock::now() + kTestPatience;
    while (!reached()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      clock_.Advance(std::chrono::milliseconds(10));
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    return true;
  }
  // Until the scheduler has taken note of so many failed attempts.
  void WaitForRetries(uint64_t count) {
    while (scheduler_->Statistics().retries < count) std::this_thread::yield();
  }

  TestBlob blob_;
  Bytes content_;
  TemporaryDirectory directory_;
  FakeClock clock_;
  std::shared_ptr<FakeSource> source_;
  std::shared_ptr<SourceBlob> source_blob_;
  std::shared_ptr<ObjectCache> cache_;
  std::shared_ptr<CachedObject> object_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace layerfs

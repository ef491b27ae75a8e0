// SPDX-License-Identifier: Apache-2.0
// What the scheduler's tests put around it: a clock that stands still, a blob made of chunks, a
// source that records requests and answers when it is told to, and answers to wait for.
// Thread-safe.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "fetch/clock.h"
#include "fetch/scheduler.h"
#include "index/base/synchronized.h"
#include "index/base/zstd_codec.h"
#include "tests/fetch/cache_testing.h"

namespace layerfs {

// How long a test waits for another thread before it gives up: only ever reached by a failure.
inline constexpr std::chrono::seconds kTestPatience{20};

class FakeClock final : public Clock {
 public:
  TimePoint Now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                 TimePoint until) override {
    {
      const std::lock_guard own(mutex_);
      if (now_ >= until) return;
      waiters_.insert({lock.mutex(), &changed});
    }
    changed.wait(lock);
  }
  void Advance(Duration duration) {
    std::set<std::pair<std::mutex*, std::condition_variable*>> waiters;
    {
      const std::lock_guard own(mutex_);
      now_ += duration;
      waiters.swap(waiters_);
    }
    for (const auto& [mutex, changed] : waiters) {
      const std::lock_guard lock(*mutex);
      changed->notify_all();
    }
  }

 private:
  mutable std::mutex mutex_;
  TimePoint now_{std::chrono::hours(1)};
  std::set<std::pair<std::mutex*, std::condition_variable*>> waiters_;
};

// A blob of chunks, one behind the other, with the contents that they stand for.
struct TestBlob {
  Bytes bytes;
  std::vector<ChunkRef> chunks;
  std::vector<Bytes> contents;

  void Add(const Bytes& content, bool compressed = true) {
    Bytes stored = content;
    if (compressed) {
      EXPECT_TRUE(ZstdCompressor(1).Compress(content, stored).has_value());
    }
    chunks.push_back({Digest::Of(content), bytes.size(), static_cast<uint32_t>(stored.size()),
                      static_cast<uint32_t>(content.size()),
                      compressed ? ChunkCodec::kZstdFrame : ChunkCodec::kStored});
    bytes.insert(bytes.end(), stored.begin(), stored.end());
    contents.push_back(content);
  }
  static TestBlob OfChunks(size_t count, size_t chunk_bytes, bool compressed = true) {
    TestBlob blob;
    for (size_t i = 0; i < count; ++i) blob.Add(PatternBytes(chunk_bytes, 1000 + i), compressed);
    return blob;
  }
};

class FakeSource final : public BlobSource {
 public:
  struct Request {
    BlobRange range;
    FetchClass fetch_class;
    BlobSink sink;
    bool cancelled = false;
    bool ended = false;
    uint64_t sent = 0;
  };

  explicit FakeSource(Bytes blob) : blob_(std::move(blob)) {}

  TransferId Start(const BlobRange& range, FetchClass fetch_class, BlobSink sink) override {
    const std::lock_guard lock(mutex_);
    requests_.push_back({range, fetch_class, std::move(sink)});
    changed_.notify_all();
    return requests_.size() - 1;
  }
  void Cancel(TransferId transfer) override {
    const std::lock_guard lock(mutex_);
    requests_.at(transfer).cancelled = true;
    changed_.notify_all();
  }
  std::string name() const override { return "fake.example.com/app"; }

  size_t request_count() const {
    const std::lock_guard lock(mutex_);
    return requests_.size();
  }
  BlobRange range(size_t request) const {
    const std::lock_guard lock(mutex_);
    return requests_.at(request).range;
  }
  FetchClass fetch_class(size_t request) const {
    const std::lock_guard lock(mutex_);
    return requests_.at(request).fetch_class;
  }
  // Waits until there are `count` requests; false after kTestPatience.
  bool WaitForRequests(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kTestPatience, [&] { return requests_.size() >= count; });
  }
  bool WaitForCancel(size_t request) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kTestPatience, [&] { return requests_.at(request).cancelled; });
  }

  // The caller is the source's thread: sends the next bytes of a request; false when it is told to
  // stop.
  bool Send(size_t request, uint64_t size) {
    Bytes part;
    std::function<bool(ByteSpan)> on_data;
    {
      const std::lock_guard lock(mutex_);
      Request& r = requests_.at(request);
      size = std::min(size, r.range.size - r.sent);
      const auto begin = blob_.begin() + static_cast<ptrdiff_t>(r.range.offset + r.sent);
      part.assign(begin, begin + static_cast<ptrdiff_t>(size));
      r.sent += size;
      on_data = r.sink.on_data;
    }
    return on_data(part);
  }
  void End(size_t request, Status status = {},
           std::optional<std::chrono::milliseconds> retry_after = {}) {
    std::function<void(const TransferResult&)> on_done;
    TransferResult result;
    {
      const std::lock_guard lock(mutex_);
      Request& r = requests_.at(request);
      ASSERT_FALSE(r.ended);
      r.ended = true;
      on_done = std::move(r.sink.on_done);
      r.sink = {};
      result.body_bytes = r.sent;
    }
    result.status = std::move(status);
    result.retry_after = retry_after;
    result.first_byte = first_byte;
    on_done(result);
  }
  void Serve(size_t request) {
    Send(request, range(request).size);
    End(request);
  }
  void Corrupt(uint64_t offset) {
    const std::lock_guard lock(mutex_);
    blob_.at(offset) ^= 0xFF;
  }
  // Ends what was cancelled and not ended: what a real source does by itself.
  void EndCancelled() {
    for (size_t i = 0; i < request_count(); ++i) {
      bool due = false;
      {
        const std::lock_guard lock(mutex_);
        due = requests_[i].cancelled && !requests_[i].ended;
      }
      if (due) End(i, Fail(ErrorCode::kCancelled, "cancelled"));
    }
  }

  std::chrono::microseconds first_byte{1000};

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Bytes blob_;
  std::vector<Request> requests_;
};

// An answer to a Fetch that a test can wait for.
class Answer {
 public:
  ChunkDone Done() {
    return [state = state_](Result<SharedBytes> result) {
      state->WithNotify([&](State& s) {
        ++s.calls;
        s.result = std::move(result);
      });
    };
  }
  int calls() const {
    return state_->With([](const State& s) { return s.calls; });
  }
  Result<SharedBytes> Wait() {
    return state_->WaitThen([](State& s) { return s.calls > 0; },
                            [](State& s) { return *s.result; });
  }
  Bytes WaitBytes() {
    const Result<SharedBytes> result = Wait();
    EXPECT_TRUE(result.has_value()) << result.error().context;
    return result.has_value() ? **result : Bytes{};
  }
  ErrorCode WaitError() {
    const Result<SharedBytes> result = Wait();
    EXPECT_FALSE(result.has_value());
    return result.has_value() ? ErrorCode::kExists : result.error().code;
  }

 private:
  struct State {
    int calls = 0;
    std::optional<Result<SharedBytes>> result;
  };
  std::shared_ptr<Synchronized<State>> state_ = std::make_shared<Synchronized<State>>();
};

}  // namespace layerfs

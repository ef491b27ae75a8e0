// SPDX-License-Identifier: Apache-2.0
// StartupFeed: a blob's bytes in order, from a BlobSource to a thread that waits for them. Goes on
// where a transfer broke off.
// Thread-safe: one consumer.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "fetch/blob_source.h"
#include "fetch/clock.h"
#include "index/base/large_buffer.h"
#include "index/base/synchronized.h"

namespace layerfs {

class StartupFeed : public std::enable_shared_from_this<StartupFeed> {
 public:
  StartupFeed(std::shared_ptr<BlobSource> source, const Digest& blob, uint64_t blob_size,
              std::chrono::milliseconds timeout)
      : source_(std::move(source)), blob_(blob), blob_size_(blob_size), timeout_(timeout) {}

  void Start();
  // The next `size` bytes; kCancelled after Cancel.
  Result<Bytes> Take(uint64_t size);
  void Cancel();
  // Is told of all bytes received so far whenever there are more, from a thread that must not wait.
  void SetObserver(std::function<void(uint64_t received)> observer);

  uint64_t received() const;
  Duration first_byte() const;  // of the first transfer; zero before its first byte

 private:
  // What has come and is not taken, in blocks that are filled again and again.
  class Store {
   public:
    void Add(ByteSpan data);
    // As many as `out` takes, which are there.
    void Take(MutableByteSpan out);
    uint64_t size() const { return size_; }

   private:
    std::deque<LargeBuffer> blocks_;
    LargeBuffer spare_;
    size_t front_used_ = 0;
    size_t back_filled_ = 0;
    uint64_t size_ = 0;
  };
  struct State {
    Store store;
    uint64_t received = 0;
    std::optional<TransferResult> ended;
    BlobSource::TransferId transfer = 0;
    bool cancelled = false;
    TimePoint started{};
    Duration first_byte{};
    std::shared_ptr<const std::function<void(uint64_t)>> observer;
  };
  void StartTransfer();

  const std::shared_ptr<BlobSource> source_;
  const Digest blob_;
  const uint64_t blob_size_;
  const std::chrono::milliseconds timeout_;
  Synchronized<State> state_;
};

}  // namespace layerfs

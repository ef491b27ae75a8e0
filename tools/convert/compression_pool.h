// SPDX-License-Identifier: Apache-2.0
// CompressionPool: the threads that compress, for all layers of a conversion together, and the
// contexts that they compress with: never more of those than threads, whatever waits.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "index/base/bytes.h"
#include "index/base/synchronized.h"
#include "index/base/thread_pool.h"
#include "index/base/zstd_codec.h"

namespace layerfs {

// A context and the room that it compresses into, used again and again.
struct Compressor {
  ZstdCompressor zstd;
  Bytes room;
};

class CompressionPool {
 public:
  CompressionPool(int threads, int level) : level_(level), threads_("convert", threads) {}

  // Runs `task` on a thread of the pool. Never blocks: the caller keeps count of what waits.
  void Submit(std::function<void(Compressor&)> task) {
    threads_.Submit([this, task = std::move(task)] { task(OfThisThread()); });
  }

 private:
  // A thread keeps its context: the tables stay in the cache of the core that runs it.
  Compressor& OfThisThread() {
    return compressors_.With([&](auto& compressors) -> Compressor& {
      auto& compressor = compressors[std::this_thread::get_id()];
      if (!compressor.has_value()) compressor.emplace(ZstdCompressor(level_), Bytes());
      return *compressor;
    });
  }

  const int level_;
  Synchronized<std::map<std::thread::id, std::optional<Compressor>>> compressors_;
  ThreadPool threads_;  // Last: its threads use the rest.
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// CompressionPool: the threads that compress, for all layers of a conversion together, and the
// contexts that they compress with: never more of those than threads, whatever waits.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "index/base/synchronized.h"
#include "index/base/thread_pool.h"
#include "tools/convert/chunk_compressor.h"
#include "tools/convert/chunk_policy.h"

namespace layerfs {

class CompressionPool {
 public:
  // `level` is of the compression.
  CompressionPool(int threads, int level, LayerCompression compression = LayerCompression::kZstd)
      : level_(level), compression_(compression), threads_("convert", threads) {}

  // Runs `task` on a thread of the pool. Never blocks: the caller keeps count of what waits.
  void Submit(std::function<void(ChunkCompressor&)> task) {
    threads_.Submit([this, task = std::move(task)] { task(OfThisThread()); });
  }

 private:
  // A thread keeps its context: the tables stay in the cache of the core that runs it.
  ChunkCompressor& OfThisThread() {
    return compressors_.With([&](auto& compressors) -> ChunkCompressor& {
      auto& compressor = compressors[std::this_thread::get_id()];
      if (compressor == nullptr) {
        compressor = std::make_unique<ChunkCompressor>(compression_, level_);
      }
      return *compressor;
    });
  }

  const int level_;
  const LayerCompression compression_;
  Synchronized<std::map<std::thread::id, std::unique_ptr<ChunkCompressor>>> compressors_;
  ThreadPool threads_;  // Last: its threads use the rest.
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// CompressionPool: the threads that compress, for all layers of a conversion together, the
// contexts that they compress with: never more of those than threads, whatever waits; and the
// buffers of all layers.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "index/base/synchronized.h"
#include "index/base/thread_pool.h"
#include "tools/convert/buffer_pool.h"
#include "tools/convert/chunk_compressor.h"
#include "tools/convert/chunk_policy.h"

namespace layerfs {

class CompressionPool {
 public:
  // `level` is of the compression.
  CompressionPool(int threads, int level, LayerCompression compression = LayerCompression::kZstd)
      : level_(level), compression_(compression), threads_("convert", threads) {}

  // For what is to be compressed and what comes of it.
  BufferPool& buffers() { return buffers_; }
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

  // What is in flight (InFlightBytes, layer_converter.h) when it is much; that counts a frame as if
  // it did not shrink.
  static constexpr uint64_t kKeptBytes = uint64_t{48} << 20;

  BufferPool buffers_{kKeptBytes};
  const int level_;
  const LayerCompression compression_;
  Synchronized<std::map<std::thread::id, std::unique_ptr<ChunkCompressor>>> compressors_;
  ThreadPool threads_;  // Last: its threads use the rest.
};

}  // namespace layerfs

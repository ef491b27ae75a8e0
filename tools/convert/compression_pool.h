// SPDX-License-Identifier: Apache-2.0
// CompressionPool: the threads that compress, for all layers of a conversion together, and the
// contexts that they compress with: never more of those than threads, whatever waits.
// Thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <utility>
#include <vector>

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
    threads_.Submit([this, task = std::move(task)] {
      Compressor compressor = Take();
      task(compressor);
      idle_.With([&](auto& idle) { idle.push_back(std::move(compressor)); });
    });
  }

 private:
  Compressor Take() {
    std::optional<Compressor> found = idle_.With([](auto& idle) -> std::optional<Compressor> {
      if (idle.empty()) return std::nullopt;
      Compressor last = std::move(idle.back());
      idle.pop_back();
      return last;
    });
    return found.has_value() ? std::move(*found) : Compressor{ZstdCompressor(level_), {}};
  }

  const int level_;
  Synchronized<std::vector<Compressor>> idle_;
  ThreadPool threads_;  // Last: its threads use the rest.
};

}  // namespace layerfs

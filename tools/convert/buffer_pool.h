// SPDX-License-Identifier: Apache-2.0
// BufferPool: used buffers for those who need the next ones. Memory that is mapped anew for each
// chunk costs as much as hashing it: the kernel clears its pages, one fault at a time.
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "index/base/bytes.h"
#include "index/base/synchronized.h"

namespace layerfs {

class BufferPool {
 public:
  // Buffers of `keep_bytes` in all are kept, those that were given last.
  explicit BufferPool(uint64_t keep_bytes) : keep_bytes_(keep_bytes) {}

  // An empty buffer with room for `size` bytes; not with room for many more, since what waits for
  // its turn is counted by the room that it takes.
  Bytes Take(size_t size);
  void Give(Bytes&& buffer);

 private:
  struct Kept {
    std::deque<Bytes> buffers;  // the last given at the back
    uint64_t bytes = 0;         // capacity of all
  };

  const uint64_t keep_bytes_;
  Synchronized<Kept> kept_;
};

}  // namespace layerfs

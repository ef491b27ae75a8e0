// SPDX-License-Identifier: Apache-2.0
// UnkeptChunks: the last few chunks that the cache did not take, so that the small files that share
// one do not each fetch it. Thread-safe.
#pragma once

#include <cstdint>
#include <list>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/synchronized.h"

namespace layerfs {

class UnkeptChunks {
 public:
  // A reader that goes through files in order is in one chunk at a time, and those
  // that small files share are below 2 MiB where layerfs has made them: a few such readers.
  static constexpr uint64_t kMostBytes = uint64_t{8} << 20;
  static constexpr size_t kMostChunks = 32;

  // Null where it is not there. Counts as a use.
  SharedBytes Find(const Digest& chunk);
  // Forgets what was used longest ago where it becomes too much.
  void Put(const Digest& chunk, SharedBytes content);
  void Clear();

 private:
  struct Chunk {
    Digest digest;
    SharedBytes content;
  };
  struct Chunks {
    std::list<Chunk> list;  // the front is the most recently used
    uint64_t bytes = 0;
  };
  Synchronized<Chunks> chunks_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ReadStreams: who reads in order, and what they will want next. A stream is a reader that goes
// forward through one space of positions: a layer's tar, in which small files lie one behind the
// other, so that a reader of one large file, of a directory file by file, and a program that is
// mapped are all the same to it.
// Thread-safe.
//
// Invariants:
//   1. What is asked for ahead of a stream is at most its window, which doubles with each step from
//      the size of a read: a reader that stops has cost about as much as it has used.
//   2. Nothing behind a file's end is asked for before the stream has gone on from one file to the
//      next kCrossings times.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "index/base/synchronized.h"

namespace layerfs {

// [begin, end) of a space of positions, read from a file that lies in [file_begin, file_end).
struct StreamRead {
  uint64_t space = 0;
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t file_begin = 0;
  uint64_t file_end = 0;
};

struct StreamRun {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool empty() const { return begin >= end; }
};

class ReadStreams {
 public:
  static constexpr uint32_t kCrossings = 2;

  // What to fetch ahead now that this is being read; mostly nothing, because a window is asked for
  // in halves.
  StreamRun OnRead(const StreamRead& read);
  // `link_window`: what the link carries in a round trip; windows grow to some of these.
  void SetLinkWindow(uint64_t link_window);

 private:
  struct Stream {
    uint64_t space = 0;
    uint64_t begin = 0;  // of the last read
    uint64_t next = 0;   // its end
    uint64_t file_end = 0;
    uint64_t window = 0;
    uint64_t ahead_until = 0;  // what has been asked for already
    uint32_t steps = 0;
    uint32_t crossings = 0;
    uint64_t used = 0;  // when, in reads
  };
  struct State {
    std::vector<Stream> streams;
    uint64_t reads = 0;
  };
  static Stream& FindOrMake(State& state, const StreamRead& read);
  static bool Follows(const Stream& stream, const StreamRead& read);
  static StreamRun Advance(Stream& stream, const StreamRead& read, uint64_t max_window);

  // Two of the largest chunks that small files share, and what goes on while one is being read.
  static constexpr uint64_t kLeastMaxWindow = uint64_t{4} << 20;
  std::atomic<uint64_t> max_window_{kLeastMaxWindow};
  Synchronized<State> state_;
};

}  // namespace layerfs

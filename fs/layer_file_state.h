// SPDX-License-Identifier: Apache-2.0
// What LayerFile is made of, for its own files (layer_file*.cc, file_change.*, file_read.cc) only.
// Thread-safe.
//
// A file is settled when nothing is absent and no change is under way: from then on it is only its
// upper file, and calls go straight there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "fs/change_queue.h"
#include "fs/layer_file.h"

namespace layerfs {

struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

constexpr uint64_t PageOf(uint64_t offset) { return offset / kPartialPageBytes; }
// The end of the pages that hold bytes below `end`.
constexpr uint64_t EndPageOf(uint64_t end) {
  return PageOf(end) + (end % kPartialPageBytes != 0 ? 1 : 0);
}

struct LayerFile::State : std::enable_shared_from_this<LayerFile::State> {
  State(Parts parts_in, Interrupts& interrupts_in)
      : parts(std::move(parts_in)), interrupts(interrupts_in) {}

  const Parts parts;
  Interrupts& interrupts;
  ChangeQueue queue;
  std::atomic<bool> settled{true};
  std::atomic<bool> plain{true};
  // Bytes of the lower file may be in the upper file that are not on the disk yet: without a sync,
  // a power cut after Detach would lose what nobody wrote.
  std::atomic<bool> copied_lower{false};

  int fd() const { return parts.upper.get(); }

  // What the lower file shows of [begin, end), in order.
  std::vector<ByteRange> LowerRanges(uint64_t begin, uint64_t end) const;
  // Which file holds the byte at `at`, and up to where (at most `end`) it holds those behind.
  struct Kind {
    bool lower = false;
    uint64_t end = 0;
  };
  Kind KindAt(uint64_t at, uint64_t end) const;
  // Fills `target` from the upper file; zeros behind its end.
  Status ReadUpper(uint64_t offset, MutableByteSpan target) const;
  // After a change: whether it is settled now, and plain with that.
  void Settle();
  Status Seal();
  Status Detach();

  // As the public ones, but the token stays announced.
  void Read(Token token, uint64_t offset, size_t size, ReadDone done);
  void Write(Token token, uint64_t offset, ByteSpan data, WriteOptions options, CountDone done);
  void MakeWhole(Token token, Done done);

  // The last step of a public call. Not inlined: g++ 12 takes the moved Error for uninitialized.
  template <typename T>
  [[gnu::noinline]] void Answer(Token token, const std::function<void(Result<T>)>& done,
                                Result<T> result) const {
    done(std::move(result));
    interrupts.End(token);
  }
  // `done`, and the token's end behind it.
  template <typename T>
  auto Ending(Token token, std::function<void(Result<T>)> done) const {
    return [self = shared_from_this(), token, done = std::move(done)](Result<T> result) {
      self->Answer(token, done, std::move(result));
    };
  }
};

std::unexpected<Error> FailUpper(int system_errno);
std::unexpected<Error> FailInterrupted();

}  // namespace layerfs

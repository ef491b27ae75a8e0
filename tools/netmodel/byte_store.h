// SPDX-License-Identifier: Apache-2.0
// ByteStore: where the bytes are that are on their way through the network model, between the
// socket they came from and the one they go to.
// One thread at a time.
#pragma once

#include <cstddef>
#include <string>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

struct Moved {
  size_t bytes = 0;
  enum class State {
    kMore,   // there may be more
    kAgain,  // the socket has or takes nothing now
    kFull,   // the store takes nothing now
    kEnd,    // the peer has ended its stream
    kError,  // the connection is broken
  } state = State::kMore;
};

class ByteStore {
 public:
  virtual ~ByteStore() = default;
  // At most `limit` bytes from `socket` into the store, or from its front to `socket`.
  virtual Moved Fill(int socket, size_t limit) = 0;
  virtual Moved Drain(int socket, size_t limit) = 0;
  // Drops so many bytes from the front.
  virtual void Discard(size_t bytes) = 0;
};

// In a pipe, by splice(2): not copied.
class PipeStore final : public ByteStore {
 public:
  // Asks for room for `capacity` bytes; the kernel may give less.
  static Result<PipeStore> Create(size_t capacity);
  Moved Fill(int socket, size_t limit) override;
  Moved Drain(int socket, size_t limit) override;
  void Discard(size_t bytes) override;

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
  size_t held_ = 0;
};

// In memory, where they can be looked at.
class BufferStore final : public ByteStore {
 public:
  explicit BufferStore(size_t capacity) : capacity_(capacity) {}
  Moved Fill(int socket, size_t limit) override;
  Moved Drain(int socket, size_t limit) override;
  void Discard(size_t bytes) override;
  // What the last Fill brought.
  ByteSpan last() const { return AsBytes(bytes_).last(last_); }

 private:
  const size_t capacity_;
  std::string bytes_;
  size_t drained_ = 0;  // of bytes_
  size_t last_ = 0;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// BodyPipe: carries a response's body from the HTTP loop thread, which must not block, to a thread
// that may, with bounded memory: when it is full, the transfer pauses.
// Thread-safe: one producer (the loop), one consumer.
#pragma once

#include <deque>
#include <functional>
#include <optional>

#include "fetch/registry_host.h"
#include "index/base/bytes.h"
#include "index/base/synchronized.h"

namespace layerfs {

class BodyPipe {
 public:
  // `capacity`: bytes held at most, but for one piece.
  explicit BodyPipe(size_t capacity) : capacity_(capacity) {}

  // The producer's end.
  BodyFlow Offer(ByteSpan data);
  void Finish(const RegistryResult& result);

  // The next piece, or nothing when the transfer has ended and all is taken. `resume` is called
  // when there is room again after the pipe was full.
  std::optional<Bytes> Next(const std::function<void()>& resume);
  // After Next has returned nothing.
  RegistryResult result() const;

 private:
  struct State {
    std::deque<Bytes> pieces;
    size_t size = 0;
    bool paused = false;
    std::optional<RegistryResult> result;
  };
  const size_t capacity_;
  Synchronized<State> state_;
};

}  // namespace layerfs

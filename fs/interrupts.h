// SPDX-License-Identifier: Apache-2.0
// Interrupts: the operations of one file system that may wait, by the token that their Reply
// carries, so that an interrupt finds what to end.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <unordered_map>

#include "index/base/synchronized.h"

namespace layerfs {

class Interrupts {
 public:
  using Token = uint64_t;  // 0 is nobody's

  // For Reply::SetInterruptToken, before the operation begins; Begin or End has to follow.
  Token Announce();
  // The operation waits from here on; `cancel` makes it answer soon (with kCancelled) and is called
  // at most once, from any thread. False: it was interrupted before, is forgotten, and has to be
  // answered so; `cancel` is not kept then. For token 0 it does nothing and returns true.
  bool Begin(Token token, std::function<void()> cancel);
  // It has been answered. No-op for one that is not known (any more).
  void End(Token token);
  // FileSystem::Interrupt.
  void Interrupt(Token token);
  // At the end of the session: interrupts all and waits until each has ended. Nothing may be
  // announced meanwhile.
  void InterruptAll();

 private:
  struct Operation {
    bool begun = false;
    bool interrupted = false;
    std::function<void()> cancel;
  };
  std::atomic<Token> next_{1};
  Synchronized<std::unordered_map<Token, Operation>> operations_;
};

}  // namespace layerfs

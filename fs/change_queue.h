// SPDX-License-Identifier: Apache-2.0
// ChangeQueue: the order of changes to one file. A change owns its pages from its turn to its end;
// one that overlaps an earlier one waits for it, without a thread that waits.
// Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>

#include "index/base/synchronized.h"

namespace layerfs {

inline constexpr uint64_t kAllPages = UINT64_MAX;

struct Change {
  uint64_t first_page = 0;
  uint64_t end_page = kAllPages;  // past the last
  // Runs when its turn comes later, on the thread that ended the change before it.
  std::function<void()> start;
  bool owns = false;  // the queue's
};
using ChangePtr = std::shared_ptr<Change>;

class ChangeQueue {
 public:
  // True: it owns its pages now, as nothing overlaps. False: it was not taken.
  bool TryBegin(const ChangePtr& change);
  // True: it owns its pages now. False: `start` runs when its turn comes.
  bool Begin(const ChangePtr& change);
  // Takes a change out that waits for its turn; false where its turn has come.
  bool Withdraw(const ChangePtr& change);
  // The change, which owned its pages, is over. Starts those that waited for it.
  void End(const ChangePtr& change);
  bool empty() const;

 private:
  struct Changes {
    std::list<ChangePtr> all;     // in the order in which they came
    std::deque<ChangePtr> ready;  // whose turn has come; to be started
    bool starting = false;        // somebody starts what is ready
  };
  static void Remove(Changes& changes, const ChangePtr& change);
  void StartReady();
  Synchronized<Changes> changes_;
};

}  // namespace layerfs

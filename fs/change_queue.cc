// SPDX-License-Identifier: Apache-2.0
#include "fs/change_queue.h"

#include <algorithm>
#include <utility>

namespace layerfs {
namespace {

bool Overlap(const Change& a, const Change& b) {
  return a.first_page < b.end_page && b.first_page < a.end_page;
}

// Whether one of [begin, end) overlaps `change`.
template <typename Iterator>
bool AnyOverlaps(Iterator begin, Iterator end, const Change& change) {
  return std::any_of(begin, end, [&](const ChangePtr& other) { return Overlap(*other, change); });
}

}  // namespace

bool ChangeQueue::TryBegin(const ChangePtr& change) {
  return changes_.With([&](Changes& changes) {
    if (AnyOverlaps(changes.all.begin(), changes.all.end(), *change)) return false;
    change->owns = true;
    changes.all.push_back(change);
    return true;
  });
}

bool ChangeQueue::Begin(const ChangePtr& change) {
  return changes_.With([&](Changes& changes) {
    change->owns = !AnyOverlaps(changes.all.begin(), changes.all.end(), *change);
    changes.all.push_back(change);
    return change->owns;
  });
}

// Those behind it that overlap nothing before them any more become ready.
void ChangeQueue::Remove(Changes& changes, const ChangePtr& change) {
  const auto found = std::find(changes.all.begin(), changes.all.end(), change);
  for (auto it = changes.all.erase(found); it != changes.all.end(); ++it) {
    if ((*it)->owns || AnyOverlaps(changes.all.begin(), it, **it)) continue;
    (*it)->owns = true;
    changes.ready.push_back(*it);
  }
}

bool ChangeQueue::Withdraw(const ChangePtr& change) {
  const bool withdrawn = changes_.With([&](Changes& changes) {
    if (change->owns || std::ranges::find(changes.all, change) == changes.all.end()) return false;
    Remove(changes, change);
    return true;
  });
  if (withdrawn) StartReady();
  return withdrawn;
}

void ChangeQueue::End(const ChangePtr& change) {
  changes_.With([&](Changes& changes) { Remove(changes, change); });
  StartReady();
}

bool ChangeQueue::empty() const {
  return changes_.With([](const Changes& changes) { return changes.all.empty(); });
}

// A change that was started may end at once and make the next one ready: that one is started by
// this loop, not from within, so that the stack does not grow with the queue.
void ChangeQueue::StartReady() {
  bool mine = false;
  for (;;) {
    const ChangePtr next = changes_.With([&](Changes& changes) -> ChangePtr {
      if (!mine && changes.starting) return nullptr;
      mine = true;
      changes.starting = !changes.ready.empty();
      if (changes.ready.empty()) return nullptr;
      ChangePtr first = std::move(changes.ready.front());
      changes.ready.pop_front();
      return first;
    });
    if (next == nullptr) return;
    // What it holds is let go with it.
    const std::function<void()> start = std::exchange(next->start, nullptr);
    start();
  }
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// PriorityWorkers: threads that decompress and verify, the most urgent first. Nothing here waits
// for a network; but what is written waits for the disk, where that is slower than the link.
// Thread-safe.
//
// Invariant: demand finds a thread that is not busy with anything less urgent.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "fetch/blob_source.h"
#include "index/base/synchronized.h"

namespace layerfs {

class PriorityWorkers {
 public:
  // As many for all classes, and one more for demand.
  explicit PriorityWorkers(int threads);
  // Finishes the queue, then joins.
  ~PriorityWorkers();
  PriorityWorkers(const PriorityWorkers&) = delete;
  PriorityWorkers& operator=(const PriorityWorkers&) = delete;

  // Never blocks; the scheduler bounds what is in flight.
  void Submit(FetchClass fetch_class, std::function<void()> task);

 private:
  static constexpr size_t kClasses = 4;
  struct Task {
    std::function<void()> run;
    bool low = false;   // less urgent than demand
    bool more = false;  // there is one for another thread
  };
  struct Queue {
    std::array<std::deque<std::function<void()>>, kClasses> tasks;
    int low_running = 0;
    int max_low = 0;
    bool closing = false;
    // Whether a thread that has nothing to do may take one.
    bool has_task() const;
    // Empty where there is none.
    Task Take();
  };
  void Run();

  Synchronized<Queue> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// PriorityWorkers: threads that decompress and verify, the most urgent first. Nothing here waits
// for a network.
// Thread-safe.
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
  explicit PriorityWorkers(int threads);
  // Finishes the queue, then joins.
  ~PriorityWorkers();
  PriorityWorkers(const PriorityWorkers&) = delete;
  PriorityWorkers& operator=(const PriorityWorkers&) = delete;

  // Never blocks; the scheduler bounds what is in flight.
  void Submit(FetchClass fetch_class, std::function<void()> task);

 private:
  static constexpr size_t kClasses = 4;
  struct Queue {
    std::array<std::deque<std::function<void()>>, kClasses> tasks;
    bool closing = false;
    bool empty() const;
    std::function<void()> Take();
  };
  void Run();

  Synchronized<Queue> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// A fixed set of named threads that run tasks in the order given. For work that computes; nothing
// here waits for a network.
// Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "index/base/synchronized.h"

namespace layerfs {

class ThreadPool {
 public:
  // `name` is at most 11 characters: the kernel keeps 15, and a number follows.
  ThreadPool(const std::string& name, int threads);
  // Finishes the queue, then joins.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Never blocks: who submits without a bound of his own keeps count himself.
  void Submit(std::function<void()> task);
  int thread_count() const { return static_cast<int>(threads_.size()); }

 private:
  struct Queue {
    std::deque<std::function<void()>> tasks;
    bool closing = false;
  };
  void Run();

  Synchronized<Queue> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace layerfs

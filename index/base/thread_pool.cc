// SPDX-License-Identifier: Apache-2.0
#include "index/base/thread_pool.h"

#include <pthread.h>

#include <utility>

namespace layerfs {

ThreadPool::ThreadPool(const std::string& name, int threads) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, thread_name = name + "-" + std::to_string(i)] {
      pthread_setname_np(pthread_self(), thread_name.c_str());
      Run();
    });
  }
}

ThreadPool::~ThreadPool() {
  queue_.WithNotify([](Queue& queue) { queue.closing = true; });
}

void ThreadPool::Submit(std::function<void()> task) {
  queue_.WithNotify([&](Queue& queue) { queue.tasks.push_back(std::move(task)); });
}

void ThreadPool::Run() {
  while (true) {
    std::function<void()> task =
        queue_.WaitThen([](Queue& queue) { return queue.closing || !queue.tasks.empty(); },
                        [](Queue& queue) -> std::function<void()> {
                          if (queue.tasks.empty()) return nullptr;
                          std::function<void()> front = std::move(queue.tasks.front());
                          queue.tasks.pop_front();
                          return front;
                        });
    if (!task) return;
    task();
  }
}

}  // namespace layerfs

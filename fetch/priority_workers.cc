// SPDX-License-Identifier: Apache-2.0
#include "fetch/priority_workers.h"

#include <pthread.h>

#include <algorithm>
#include <string>
#include <utility>

namespace layerfs {

PriorityWorkers::PriorityWorkers(int threads) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, name = "decode-" + std::to_string(i)] {
      pthread_setname_np(pthread_self(), name.c_str());
      Run();
    });
  }
}

PriorityWorkers::~PriorityWorkers() {
  queue_.WithNotify([](Queue& queue) { queue.closing = true; });
}

void PriorityWorkers::Submit(FetchClass fetch_class, std::function<void()> task) {
  queue_.WithNotify([&](Queue& queue) {
    queue.tasks[static_cast<size_t>(fetch_class)].push_back(std::move(task));
  });
}

bool PriorityWorkers::Queue::empty() const {
  return std::all_of(tasks.begin(), tasks.end(), [](const auto& tier) { return tier.empty(); });
}

std::function<void()> PriorityWorkers::Queue::Take() {
  for (auto& tier : tasks) {
    if (tier.empty()) continue;
    std::function<void()> task = std::move(tier.front());
    tier.pop_front();
    return task;
  }
  return nullptr;
}

void PriorityWorkers::Run() {
  while (true) {
    const std::function<void()> task =
        queue_.WaitThen([](Queue& queue) { return queue.closing || !queue.empty(); },
                        [](Queue& queue) { return queue.Take(); });
    if (!task) return;
    task();
  }
}

}  // namespace layerfs

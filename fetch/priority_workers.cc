// SPDX-License-Identifier: Apache-2.0
#include "fetch/priority_workers.h"

#include <pthread.h>

#include <algorithm>
#include <string>
#include <utility>

namespace layerfs {

PriorityWorkers::PriorityWorkers(int threads) {
  queue_.With([&](Queue& queue) { queue.max_low = threads; });
  for (int i = 0; i <= threads; ++i) {
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
  queue_.WithNotifyOne([&](Queue& queue) {
    queue.tasks[static_cast<size_t>(fetch_class)].push_back(std::move(task));
  });
}

bool PriorityWorkers::Queue::has_task() const {
  const auto is_empty = [](const auto& tier) { return tier.empty(); };
  return !tasks.front().empty() ||
         (low_running < max_low && !std::all_of(tasks.begin(), tasks.end(), is_empty));
}

PriorityWorkers::Task PriorityWorkers::Queue::Take() {
  for (auto& tier : tasks) {
    const bool low = &tier != &tasks.front();
    if (tier.empty()) continue;
    if (low && low_running == max_low) return {};
    Task task{std::move(tier.front()), low};
    tier.pop_front();
    low_running += low ? 1 : 0;
    task.more = has_task();
    return task;
  }
  return {};
}

void PriorityWorkers::Run() {
  bool was_low = false;
  while (true) {
    // What is left when it closes is for those who are at it.
    const Task task = queue_.WaitThen(
        [&](Queue& queue) {
          if (std::exchange(was_low, false)) --queue.low_running;
          return queue.closing || queue.has_task();
        },
        [](Queue& queue) { return queue.Take(); });
    if (!task.run) return;
    // Who waits was woken for what may have been taken, or could not take what it now may.
    if (task.more) queue_.WithNotifyOne([](Queue&) {});
    was_low = task.low;
    task.run();
  }
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Synchronized<T>: data that can only be reached under its lock.
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace layerfs {

template <typename T>
class Synchronized {
 public:
  Synchronized() = default;
  explicit Synchronized(T value) : value_(std::move(value)) {}

  // Runs `use(T&)` under the lock and returns what it returns. `use` does no I/O and calls nobody
  // back.
  template <typename Use>
  decltype(auto) With(Use&& use) {
    const std::lock_guard lock(mutex_);
    return std::forward<Use>(use)(value_);
  }
  template <typename Use>
  decltype(auto) With(Use&& use) const {
    const std::lock_guard lock(mutex_);
    return std::forward<Use>(use)(value_);
  }

  // Waits until `ready(T&)` holds, then runs `use(T&)`; both under the lock.
  template <typename Ready, typename Use>
  decltype(auto) WaitThen(Ready&& ready, Use&& use) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ready(value_); });
    return std::forward<Use>(use)(value_);
  }
  // Waits until `ready(T&)` holds, but for `longest` at most; whether it does.
  template <typename Rep, typename Period, typename Ready>
  bool WaitFor(std::chrono::duration<Rep, Period> longest, Ready&& ready) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, longest, [&] { return ready(value_); });
  }
  // As With, then wakes everyone in WaitThen and WaitFor.
  template <typename Use>
  decltype(auto) WithNotify(Use&& use) {
    struct Notifier {
      std::condition_variable& changed;
      ~Notifier() { changed.notify_all(); }
    };
    const std::lock_guard lock(mutex_);
    const Notifier notifier{changed_};
    return std::forward<Use>(use)(value_);
  }

  // As WithNotify, but wakes one: where whoever waits can do what there is to do.
  template <typename Use>
  decltype(auto) WithNotifyOne(Use&& use) {
    struct Notifier {
      std::condition_variable& changed;
      ~Notifier() { changed.notify_one(); }
    };
    const std::lock_guard lock(mutex_);
    const Notifier notifier{changed_};
    return std::forward<Use>(use)(value_);
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  T value_{};
};

}  // namespace layerfs

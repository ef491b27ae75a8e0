// SPDX-License-Identifier: Apache-2.0
// MemoryKeeper: gives back what reading and fetching needed (memory that the C library keeps, cache
// objects that are kept open), once nothing is read or fetched any more: a mount that has been
// filled idles for days. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

namespace layerfs {

// The pages of files and shared memory that this process has mapped and the machine holds, in bytes
// (proc(5), /proc/PID/statm); 0 where the kernel does not say.
uint64_t ResidentFileBytes();

class MemoryKeeper {
 public:
  // `activity` grows with everything that needs some for a while; `release` gives it back.
  MemoryKeeper(std::function<uint64_t()> activity, std::function<void()> release)
      : activity_(std::move(activity)), release_(std::move(release)) {}

  // Something begins that needs some. True: Check has to be called from now on.
  bool Note() { return !awake_ && !awake_.exchange(true); }
  // When to be called again; not at all before the next Note that says so.
  std::optional<std::chrono::milliseconds> Check();

 private:
  const std::function<uint64_t()> activity_;
  const std::function<void()> release_;
  std::atomic<bool> awake_{true};
  std::optional<uint64_t> seen_;  // of Check's thread
};

}  // namespace layerfs

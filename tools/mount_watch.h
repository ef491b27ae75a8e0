// SPDX-License-Identifier: Apache-2.0
// MountWatch: what goes on beside a mount's session: the fill behind it, its control socket and
// metrics, its trace log.
// One thread at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/fill.h"
#include "tools/fill_options.h"
#include "tools/memory_keeper.h"
#include "tools/mount_status.h"

namespace layerfs {

struct MountWatchWords {
  FillWords fill;
  std::vector<std::string> metrics;
  std::string trace_log;
  void Declare(CLI::App& app);
};

class MountWatch {
 public:
  // Begins to listen, where the words say so; the fill waits for StartFill. `reader` has not read
  // yet; what is given outlives the watch. `fill_allowed`: whether there may be requests, and a
  // cache to fill.
  static Result<std::unique_ptr<MountWatch>> Start(const MountWatchWords& words,
                                                   const std::string& mount_point,
                                                   const std::shared_ptr<Image>& image,
                                                   const ImageContext& context, FileReader& reader,
                                                   bool fill_allowed);
  // Once start-up is through. No-op where there is no fill.
  void StartFill();
  // Somebody uses the mount: what that takes is given back when nobody does. Thread-safe, quick.
  void NoteUse();
  uint64_t uses() const { return uses_.load(std::memory_order_relaxed); }
  MountStatus& status() { return *status_; }

 private:
  MountWatch() = default;
  // Reading or fetching has begun, or goes on.
  void NoteActivity();
  std::optional<std::chrono::milliseconds> KeepMemory();
  // Thread-safe.
  void TrimTree();
  Status Listen(const MountWatchWords& words, const std::string& mount_point);

  std::unique_ptr<TraceLog> trace_;
  std::optional<Fill> fill_;
  std::optional<MountStatus> status_;
  std::atomic<uint64_t> uses_{0};  // of the cache and of the tree
  const Index* tree_ = nullptr;
  std::atomic<uint64_t> resident_floor_{0};  // bytes, after the tree was let go last
  std::optional<MemoryKeeper> memory_;
  // Last: their threads use the others. Whoever may reach the metrics' address holds up neither
  // `layerfs stat` nor the chores.
  std::optional<StatusServer> metrics_server_;
  std::optional<StatusServer> server_;
};

// The reader keeps thousands of cache objects open: as many descriptors as the system allows. And
// how large files may be is for those to heed who write them: the kernel checks it for them.
void RaiseLimits();

}  // namespace layerfs

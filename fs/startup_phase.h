// SPDX-License-Identifier: Apache-2.0
// StartupPhase: what a mount does differently while what runs in it starts up. With a pack, the
// kernel does not read ahead, for some time longer too, because what has been pushed is read
// without our noticing. Once the pack is through, what start-up reads besides is fetched as chunks.
// Where the window may not be changed (a user's mount), reads come in windows, and what the pack
// lacks is fetched. With a pack or without, what may wait (the fill) waits until the mount is
// quiet: it would take the processors and the link from the start. One thread at a time; it has a
// thread of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "fetch/clock.h"
#include "fs/file_reader.h"
#include "fs/readahead_window.h"
#include "fs/startup_pack.h"

namespace layerfs {

class StartupPhase {
 public:
  struct Hooks {
    std::function<uint64_t()> uses;  // grows with each use of the mount
    // Called once, when the pack is through, or there is none, and the mount has been quiet for a
    // moment or busy for long.
    std::function<void()> on_settled;
  };
  // `pack` may be null: then there is none. `reader` outlives it.
  StartupPhase(std::shared_ptr<StartupPack> pack, FileReader& reader,
               const std::string& mount_point, Hooks hooks);
  ~StartupPhase();
  StartupPhase(const StartupPhase&) = delete;
  StartupPhase& operator=(const StartupPhase&) = delete;

 private:
  void CloseWindow(const std::string& mount_point);
  void Run();
  void PrefetchBareRuns();
  void WaitForQuiet(std::unique_lock<std::mutex>& lock, TimePoint open_window_at);
  void OpenWindow();

  const std::shared_ptr<StartupPack> pack_;
  FileReader& reader_;
  const Hooks hooks_;
  std::optional<ReadaheadWindow> window_;  // while it is closed
  unsigned usual_kib_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::jthread thread_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// StartupPhase: what a mount does differently while it starts up from a pack. The kernel does not
// read ahead, for some time longer too, because what has been pushed is read without our noticing.
// Once the pack is through, what start-up reads besides is fetched as chunks. Where the window may
// not be changed (a user's mount), reads come in windows, and what the pack lacks is fetched.
// One thread at a time; it has a thread of its own.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "fs/file_reader.h"
#include "fs/readahead_window.h"
#include "fs/startup_pack.h"

namespace layerfs {

class StartupPhase {
 public:
  // `pack` may be null: then there is none. `reader` outlives it. `on_through` is called once, when
  // the pack is through or given up, or at once where there is none.
  StartupPhase(std::shared_ptr<StartupPack> pack, FileReader& reader,
               const std::string& mount_point, std::function<void()> on_through);
  ~StartupPhase();
  StartupPhase(const StartupPhase&) = delete;
  StartupPhase& operator=(const StartupPhase&) = delete;

 private:
  void CloseWindow(const std::string& mount_point);
  void Run();
  void PrefetchBareRuns();

  const std::shared_ptr<StartupPack> pack_;
  FileReader& reader_;
  const std::function<void()> on_through_;
  std::optional<ReadaheadWindow> window_;  // while it is closed
  unsigned usual_kib_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::jthread thread_;
};

}  // namespace layerfs

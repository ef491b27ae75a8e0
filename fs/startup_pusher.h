// SPDX-License-Identifier: Apache-2.0
// StartupPusher: puts the pages of a startup pack into the kernel's page cache, as they come and as
// the kernel gets to know their files, so that they are read without asking anybody.
// Thread-safe. It has a thread of its own, because a page that is being read is locked until its
// read has been answered: whoever answers must not wait for it.
//
// Invariant: a page is pushed at most once for each time that its file becomes known.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fs/file_system.h"
#include "fs/startup_pack.h"
#include "index/base/synchronized.h"
#include "index/index.h"

namespace layerfs {

class StartupPusher {
 public:
  // Node ids of the file system are inode numbers of `tree`. Both outlive the pusher's thread.
  StartupPusher(std::shared_ptr<StartupPack> pack, const Index& tree);
  ~StartupPusher();

  // `notifier` may be used until Stop returns.
  void Start(Notifier& notifier);
  void Stop();
  // The kernel is about to know the file; cheap. Pushing before it does is harmless and in vain.
  void OnKnown(InodeNumber inode);

 private:
  struct Work {
    std::unordered_set<uint32_t> known;
    std::deque<uint32_t> fresh;  // known, its earlier runs not yet pushed
    bool news = false;
    bool stop = false;
  };
  void Run();
  void PushNewRuns();
  void PushFile(uint32_t inode);
  void PushRun(size_t run);

  const std::shared_ptr<StartupPack> pack_;
  const Index& tree_;
  std::vector<uint64_t> positions_;  // of runs, bytes in the pack
  std::unordered_map<uint32_t, std::vector<size_t>> runs_of_;
  Notifier* notifier_ = nullptr;
  size_t next_run_ = 0;  // runs before it were there when their turn came
  Synchronized<Work> work_;
  std::jthread thread_;
};

}  // namespace layerfs

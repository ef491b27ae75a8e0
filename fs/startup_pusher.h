// SPDX-License-Identifier: Apache-2.0
// StartupPusher: puts the pages of a startup pack into the kernel's page cache, so that they are
// read without asking anybody: as a file is opened for the first time, what there is of it; later
// what comes.
// Thread-safe. What comes is pushed by a thread of its own, because a page that is being read is
// locked until its read has been answered: whoever answers must not wait for it. Nothing of a file
// that nobody has opened is being read.
//
// Invariants:
//   1. A run is pushed at most once.
//   2. Once Forbid has told so, no page of the file is pushed any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fetch/clock.h"
#include "fs/file_system.h"
#include "fs/startup_pack.h"
#include "index/base/synchronized.h"
#include "index/index.h"

namespace layerfs {

class StartupPusher {
 public:
  using SizeOf = std::function<uint64_t(InodeNumber)>;
  // Node ids of the file system are inode numbers of the pack's tree; `size_of` tells the files'.
  // `clock` outlives the pusher.
  StartupPusher(std::shared_ptr<StartupPack> pack, SizeOf size_of, Clock& clock = SteadyClock());
  ~StartupPusher();

  // `notifier` may be used until Stop returns.
  void Start(Notifier& notifier);
  void Stop();
  // The kernel is opening the file to read it. `opened` is called once, when what there is of it
  // has been pushed: from inside, or from the thread that is opening it already. A file that was
  // open before is not waited for.
  void BeforeOpen(InodeNumber inode, std::function<void()> opened);
  // The file's content is about to change. `done` is called once: from inside where nothing of it
  // is being pushed, else from the thread that pushes, after that. So nobody waits here for a page
  // that is locked.
  void Forbid(InodeNumber inode, std::function<void()> done);
  // Start-up is over, as far as that can be told: the pack has been there for some seconds.
  bool settled() const;

 private:
  // A file some of whose pages are being pushed.
  struct Push {
    bool opening = false;  // by whom opens it, else by the thread
    std::vector<std::function<void()>> then;
  };
  struct Work {
    std::vector<bool> pushed;  // runs, or given to somebody to push
    std::unordered_set<uint32_t> opened;
    std::unordered_set<uint32_t> forbidden;
    std::unordered_map<uint32_t, Push> under_way;
    bool put_off = false;  // by the thread: a run of a file that is being opened
    bool news = false;
    bool stop = false;
  };
  void Run();
  void PushNewRuns();
  // False where that run, and so those behind it, have to wait for an open that is under way.
  bool PushNewRun(size_t index);
  void PushRun(size_t index);
  bool MayPush(uint32_t inode) const;
  void EndPush(uint32_t inode);
  uint32_t InodeOf(size_t run) const { return ToUint(pack_->runs()[run].inode); }
  uint64_t EndOf(size_t run) const;  // bytes in the pack

  const std::shared_ptr<StartupPack> pack_;
  const SizeOf size_of_;
  std::vector<uint64_t> positions_;  // of runs, bytes in the pack
  std::unordered_map<uint32_t, std::vector<size_t>> runs_of_;
  Notifier* notifier_ = nullptr;
  size_t next_run_ = 0;  // runs before it were there when their turn came
  Clock& clock_;
  std::atomic<bool> ended_{false};
  TimePoint ended_at_{};  // once ended_
  Synchronized<Work> work_;
  std::jthread thread_;
};

}  // namespace layerfs

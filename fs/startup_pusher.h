// SPDX-License-Identifier: Apache-2.0
// StartupPusher: puts the pages of a startup pack into the kernel's page cache, as they come and as
// the kernel gets to know their files, so that they are read without asking anybody.
// Thread-safe. It has a thread of its own, because a page that is being read is locked until its
// read has been answered: whoever answers must not wait for it.
//
// Invariants:
//   1. A page is pushed at most once for each time that its file becomes known.
//   2. Once Forbid has told so, no page of the file is pushed any more.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
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
  using SizeOf = std::function<uint64_t(InodeNumber)>;
  // Node ids of the file system are inode numbers of the pack's tree; `size_of` tells the files'.
  StartupPusher(std::shared_ptr<StartupPack> pack, SizeOf size_of);
  ~StartupPusher();

  // `notifier` may be used until Stop returns.
  void Start(Notifier& notifier);
  void Stop();
  // The kernel knows the file, or is about to. Cheap.
  void OnKnown(InodeNumber inode);
  // The file's content is about to change. `done` is called once: from inside where nothing of it
  // is being pushed, else from the pusher's thread, after that. So nobody waits here for a page
  // that is locked.
  void Forbid(InodeNumber inode, std::function<void()> done);

 private:
  struct Work {
    std::unordered_set<uint32_t> known;
    std::unordered_set<uint32_t> forbidden;
    std::deque<uint32_t> fresh;  // known, its earlier runs not yet pushed
    std::optional<uint32_t> pushing;
    std::vector<std::function<void()>> after_push;
    bool news = false;
    bool stop = false;
  };
  void Run();
  void PushNewRuns();
  void PushFile(uint32_t inode);
  bool PushRunSoon(size_t run);
  bool PushRun(size_t run);
  bool Push(InodeNumber inode, uint64_t offset, ByteSpan bytes);

  const std::shared_ptr<StartupPack> pack_;
  const SizeOf size_of_;
  std::vector<uint64_t> positions_;  // of runs, bytes in the pack
  std::unordered_map<uint32_t, std::vector<size_t>> runs_of_;
  Notifier* notifier_ = nullptr;
  size_t next_run_ = 0;  // runs before it were there when their turn came
  Synchronized<Work> work_;
  std::jthread thread_;
};

}  // namespace layerfs

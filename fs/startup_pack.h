// SPDX-License-Identifier: Apache-2.0
// StartupPack: the pages of an image's startup pack as a mount reads them while they stream in.
// They lie in one object of the cache, in the pack's order, and are there up to a point that moves.
// Thread-safe.
//
// Invariants:
//   1. Pages before available() are verified, and in the object or (the last that came) in memory.
//   2. Each waiter is called exactly once: when its pages are there, or when no more will come.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "fetch/clock.h"
#include "fetch/object_cache.h"
#include "index/base/error.h"
#include "index/base/synchronized.h"
#include "index/pack.h"

namespace layerfs {

class StartupPack {
 public:
  // `whole`: all pages are in the object already. `clock` outlives the pack.
  StartupPack(PackHead head, std::vector<PackRun> runs, std::shared_ptr<CachedObject> object,
              bool whole, Clock& clock = SteadyClock());

  // A part of a read: where its bytes lie in the pack, or nothing where they are not in it.
  struct Part {
    uint64_t offset = 0;  // in the file
    uint64_t size = 0;
    std::optional<uint64_t> position;  // in the pack, bytes
    bool operator==(const Part&) const = default;
  };
  // [offset, offset + size) of the file, which has it, in order.
  std::vector<Part> Find(InodeNumber inode, uint64_t offset, uint64_t size) const;
  // Whether the range is in the pack from end to end.
  bool HasAll(InodeNumber inode, uint64_t offset, uint64_t size) const;
  bool Has(InodeNumber inode) const;

  enum class Wait {
    kReady,    // is there; `done` is not called
    kWaiting,  // `done` will be called, from the thread that brings the pages
    kLate,     // will not come, or later than a fetch of its own takes; `done` is not called
  };
  using Done = std::function<void(bool there)>;
  Wait WhenThere(uint64_t position, uint64_t size, Done done);
  // What is there.
  Status Read(uint64_t position, MutableByteSpan out) const;
  // How often each answer of WhenThere has been given.
  struct Asked {
    uint64_t ready = 0;
    uint64_t waited = 0;
    uint64_t late = 0;
  };
  Asked asked() const;

  const std::vector<PackRun>& runs() const { return runs_; }  // with pages, then without
  const PackHead& head() const { return head_; }
  uint64_t available() const { return available_.load(); }  // bytes
  // Nothing more will come, whether all is there or not.
  bool ended() const { return ended_.load(); }
  // How it went, as Finish was told; nothing before that.
  std::optional<Status> outcome() const;
  bool through() const { return available() == total_bytes(); }
  uint64_t total_bytes() const { return uint64_t{head_.page_count} * kPackPageBytes; }

  // For whoever brings the pages, one thread. The next ones, verified: whoever waits for them has
  // them before the disk has.
  Status Append(Bytes pages);
  // As bytes come: how many of the whole blob there are, decoded or not, and the time that the
  // request took to its first byte. It is what kLate is judged by.
  void NoteDownload(uint64_t blob_bytes, Duration first_byte);
  // No more come.
  void End();
  // All of the blob has been dealt with, what comes behind the pages too, or why it has not been.
  void Finish(Status outcome);
  // `changed` is called after each Append and after End, and once at once. It may be set once, and
  // is called no more after Unwatch returned.
  void Watch(std::function<void()> changed);
  void Unwatch();

 private:
  struct Place {
    PackRun run;
    uint64_t position = 0;  // bytes
  };
  struct Download {
    uint64_t bytes = 0;
    Duration first_byte{};
    TimePoint began{};  // of the first bytes
    TimePoint last{};   // when the last bytes came
    uint64_t began_at = 0;
    bool begun = false;
  };
  struct Waiting {
    std::multimap<uint64_t, Done> by_end;
  };
  struct Recent {
    uint64_t position = 0;
    std::shared_ptr<const Bytes> pages;
  };
  Wait Ask(uint64_t position, uint64_t size, Done done);
  const Place* FindPlace(InodeNumber inode, uint64_t page) const;
  bool IsLate(uint64_t end) const;
  void Release(uint64_t available);
  void Tell();

  const PackHead head_;
  const std::vector<PackRun> runs_;
  std::vector<Place> places_;         // of runs with pages, by inode and page
  std::vector<uint64_t> piece_ends_;  // pages' bytes at the end of each piece
  std::vector<uint64_t> blob_ends_;   // and where that piece ends in the blob
  const std::shared_ptr<CachedObject> object_;
  Clock& clock_;
  std::atomic<uint64_t> available_{0};
  std::atomic<bool> ended_{false};
  Synchronized<Download> download_;
  Synchronized<Waiting> waiting_;
  Synchronized<Recent> recent_;
  Synchronized<Asked> asked_;
  Synchronized<std::optional<Status>> outcome_;
  // Held while the watcher is called, so that Unwatch waits for it; taken before no other lock.
  std::mutex watch_lock_;
  std::function<void()> watcher_;
};

}  // namespace layerfs

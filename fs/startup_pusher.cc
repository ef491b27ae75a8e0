// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_pusher.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

namespace layerfs {
namespace {

constexpr uint64_t kPushBytes = uint64_t{1} << 20;
// A lookup has been answered before the kernel has made its inode: that takes it microseconds.
constexpr int kPushAttempts = 5;
constexpr std::chrono::microseconds kFirstWait{100};

}  // namespace

StartupPusher::StartupPusher(std::shared_ptr<StartupPack> pack, SizeOf size_of)
    : pack_(std::move(pack)), size_of_(std::move(size_of)) {
  uint64_t position = 0;
  for (uint32_t i = 0; i < pack_->head().run_count; ++i) {
    positions_.push_back(position);
    runs_of_[ToUint(pack_->runs()[i].inode)].push_back(i);
    position += pack_->runs()[i].pages * kPackPageBytes;
  }
}

StartupPusher::~StartupPusher() { Stop(); }

void StartupPusher::Start(Notifier& notifier) {
  if (positions_.empty()) return;
  notifier_ = &notifier;
  thread_ = std::jthread([this] {
    ::pthread_setname_np(::pthread_self(), "lf-push");
    Run();
  });
  pack_->Watch([this] { work_.WithNotify([](Work& work) { work.news = true; }); });
}

void StartupPusher::Stop() {
  pack_->Unwatch();
  work_.WithNotify([](Work& work) { work.stop = true; });
  if (thread_.joinable()) thread_.join();
}

void StartupPusher::OnKnown(InodeNumber inode) {
  if (!runs_of_.contains(ToUint(inode))) return;
  work_.WithNotify([&](Work& work) {
    if (work.known.insert(ToUint(inode)).second) work.fresh.push_back(ToUint(inode));
  });
}

void StartupPusher::Forbid(InodeNumber inode, std::function<void()> done) {
  const bool parked = work_.With([&](Work& work) {
    if (!runs_of_.contains(ToUint(inode))) return false;
    work.forbidden.insert(ToUint(inode));
    if (work.pushing != ToUint(inode)) return false;
    work.after_push.push_back(std::move(done));
    return true;
  });
  if (!parked) done();
}

void StartupPusher::Run() {
  while (true) {
    const auto file = work_.WaitThen(
        [](const Work& work) { return work.stop || work.news || !work.fresh.empty(); },
        [](Work& work) -> std::optional<uint32_t> {
          if (work.fresh.empty()) {
            work.news = false;
            return std::nullopt;
          }
          const uint32_t inode = work.fresh.front();
          work.fresh.pop_front();
          return inode;
        });
    if (work_.With([](const Work& work) { return work.stop; })) return;
    if (file.has_value()) {
      PushFile(*file);
    } else {
      PushNewRuns();
    }
  }
}

void StartupPusher::PushNewRuns() {
  const uint64_t available = pack_->available();
  while (next_run_ < positions_.size() &&
         positions_[next_run_] + pack_->runs()[next_run_].pages * kPackPageBytes <= available) {
    const uint32_t inode = ToUint(pack_->runs()[next_run_].inode);
    const bool wanted = work_.With([&](const Work& work) {
      // A fresh file's runs are all pushed when its turn comes.
      return work.known.contains(inode) && std::ranges::find(work.fresh, inode) == work.fresh.end();
    });
    if (wanted) PushRunSoon(next_run_);
    ++next_run_;
  }
}

void StartupPusher::PushFile(uint32_t inode) {
  for (const size_t run : runs_of_[inode]) {
    if (run >= next_run_ || !PushRunSoon(run)) return;
  }
}

// False where the kernel does not know the file, and does not get to know it in the time that a
// lookup takes: it has forgotten it.
bool StartupPusher::PushRunSoon(size_t run) {
  auto wait = kFirstWait;
  for (int attempt = 1; !PushRun(run); ++attempt) {
    if (attempt == kPushAttempts) {
      const uint32_t inode = ToUint(pack_->runs()[run].inode);
      work_.With([&](Work& work) { work.known.erase(inode); });
      return false;
    }
    std::this_thread::sleep_for(wait);
    wait *= 2;
  }
  return true;
}

// False where the kernel does not know the file.
bool StartupPusher::PushRun(size_t index) {
  const PackRun& run = pack_->runs()[index];
  const uint64_t begin = run.first_page * kPackPageBytes;
  // Up to the file's end and no further: a store beyond it would make the file longer.
  const uint64_t end = std::min(begin + run.pages * kPackPageBytes, size_of_(run.inode));
  Bytes bytes;
  for (uint64_t at = begin; at < end; at += kPushBytes) {
    bytes.resize(std::min(end - at, kPushBytes));
    if (!pack_->Read(positions_[index] + (at - begin), bytes).has_value()) return true;
    if (!Push(run.inode, at, bytes)) return false;
  }
  return true;
}

bool StartupPusher::Push(InodeNumber inode, uint64_t offset, ByteSpan bytes) {
  const bool may = work_.With([&](Work& work) {
    if (work.stop || work.forbidden.contains(ToUint(inode))) return false;
    work.pushing = ToUint(inode);
    return true;
  });
  if (!may) return true;
  const bool known = notifier_->Store(ToUint(inode), offset, bytes);
  const auto after = work_.With([](Work& work) {
    work.pushing.reset();
    return std::exchange(work.after_push, {});
  });
  for (const auto& done : after) done();
  return known;
}

}  // namespace layerfs

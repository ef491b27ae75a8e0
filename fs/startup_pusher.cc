// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_pusher.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace layerfs {
namespace {

constexpr uint64_t kPushBytes = uint64_t{1} << 20;
// A start-up that takes longer reads the rest of its files as any other reader does.
constexpr std::chrono::seconds kSettle{5};

}  // namespace

StartupPusher::StartupPusher(std::shared_ptr<StartupPack> pack, SizeOf size_of, Clock& clock)
    : pack_(std::move(pack)), size_of_(std::move(size_of)), clock_(clock) {
  uint64_t position = 0;
  for (uint32_t i = 0; i < pack_->head().run_count; ++i) {
    positions_.push_back(position);
    runs_of_[InodeOf(i)].push_back(i);
    position += pack_->runs()[i].pages * kPackPageBytes;
  }
  work_.With([&](Work& work) { work.pushed.resize(positions_.size()); });
}

StartupPusher::~StartupPusher() { Stop(); }

void StartupPusher::Start(Notifier& notifier) {
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

bool StartupPusher::settled() const { return ended_.load() && clock_.Now() - ended_at_ > kSettle; }

void StartupPusher::BeforeOpen(InodeNumber inode, std::function<void()> opened) {
  const uint32_t number = ToUint(inode);
  const auto runs = runs_of_.find(number);
  if (runs == runs_of_.end()) return opened();
  enum class Turn { kFirst, kSecond, kLater };
  const Turn turn = work_.With([&](Work& work) {
    const auto push = work.under_way.find(number);
    if (push != work.under_way.end() && push->second.opening) {
      push->second.then.push_back(std::move(opened));
      return Turn::kSecond;
    }
    if (work.forbidden.contains(number) || !work.opened.insert(number).second) return Turn::kLater;
    work.under_way[number].opening = true;
    return Turn::kFirst;
  });
  if (turn == Turn::kSecond) return;
  if (turn == Turn::kFirst) {
    const uint64_t available = pack_->available();
    for (const size_t run : runs->second) {
      if (EndOf(run) > available) break;
      work_.With([&](Work& work) { work.pushed[run] = true; });
      PushRun(run);
    }
    EndPush(number);
  }
  opened();
}

void StartupPusher::Forbid(InodeNumber inode, std::function<void()> done) {
  const uint32_t number = ToUint(inode);
  const bool parked = work_.With([&](Work& work) {
    if (!runs_of_.contains(number)) return false;
    work.forbidden.insert(number);
    const auto push = work.under_way.find(number);
    if (push == work.under_way.end()) return false;
    push->second.then.push_back(std::move(done));
    return true;
  });
  if (!parked) done();
}

void StartupPusher::Run() {
  while (true) {
    const bool stop = work_.WaitThen([](const Work& work) { return work.stop || work.news; },
                                     [](Work& work) {
                                       work.news = false;
                                       return work.stop;
                                     });
    if (stop) return;
    const bool ended = pack_->ended();
    PushNewRuns();
    if (ended && !ended_.load()) {
      ended_at_ = clock_.Now();
      ended_.store(true);
    }
  }
}

void StartupPusher::PushNewRuns() {
  const uint64_t available = pack_->available();
  while (next_run_ < positions_.size() && EndOf(next_run_) <= available && PushNewRun(next_run_)) {
    ++next_run_;
  }
}

bool StartupPusher::PushNewRun(size_t index) {
  const uint32_t inode = InodeOf(index);
  enum class Turn { kMine, kNobodys, kWait };
  const Turn turn = work_.With([&](Work& work) {
    // Whoever opens a file pushes what there is of it, and tells of the end.
    if (work.under_way.contains(inode)) {
      work.put_off = true;
      return Turn::kWait;
    }
    if (!work.opened.contains(inode) || work.pushed[index]) return Turn::kNobodys;
    work.pushed[index] = true;
    work.under_way[inode];
    return Turn::kMine;
  });
  if (turn == Turn::kMine) {
    PushRun(index);
    EndPush(inode);
  }
  return turn != Turn::kWait;
}

uint64_t StartupPusher::EndOf(size_t run) const {
  return positions_[run] + pack_->runs()[run].pages * kPackPageBytes;
}

bool StartupPusher::MayPush(uint32_t inode) const {
  return work_.With(
      [&](const Work& work) { return !work.stop && !work.forbidden.contains(inode); });
}

void StartupPusher::PushRun(size_t index) {
  const PackRun& run = pack_->runs()[index];
  const uint64_t begin = run.first_page * kPackPageBytes;
  // Up to the file's end and no further: a store beyond it would make the file longer.
  const uint64_t end = std::min(begin + run.pages * kPackPageBytes, size_of_(run.inode));
  Bytes bytes;
  for (uint64_t at = begin; at < end && MayPush(ToUint(run.inode)); at += kPushBytes) {
    bytes.resize(std::min(end - at, kPushBytes));
    if (!pack_->Read(positions_[index] + (at - begin), bytes).has_value()) return;
    // A node that the kernel has forgotten is one that nobody reads.
    if (!notifier_->Store(ToUint(run.inode), at, bytes)) return;
  }
}

void StartupPusher::EndPush(uint32_t inode) {
  bool put_off = false;
  const Push ended = work_.With([&](Work& work) {
    Push push = std::move(work.under_way[inode]);
    work.under_way.erase(inode);
    put_off = push.opening && std::exchange(work.put_off, false);
    return push;
  });
  if (put_off) work_.WithNotify([](Work& work) { work.news = true; });
  for (const auto& done : ended.then) done();
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_pusher.h"

#include <pthread.h>

#include <algorithm>
#include <optional>

namespace layerfs {
namespace {

constexpr uint64_t kPushBytes = uint64_t{1} << 20;

}  // namespace

StartupPusher::StartupPusher(std::shared_ptr<StartupPack> pack, const Index& tree)
    : pack_(std::move(pack)), tree_(tree) {
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
    if (wanted) PushRun(next_run_);
    ++next_run_;
  }
}

void StartupPusher::PushFile(uint32_t inode) {
  for (const size_t run : runs_of_[inode]) {
    if (run >= next_run_) return;
    PushRun(run);
  }
}

void StartupPusher::PushRun(size_t index) {
  const PackRun& run = pack_->runs()[index];
  const uint64_t begin = run.first_page * kPackPageBytes;
  // Up to the file's end and no further: a store beyond it would make the file longer.
  const uint64_t end = std::min(begin + run.pages * kPackPageBytes, tree_.Get(run.inode).size);
  Bytes bytes;
  for (uint64_t at = begin; at < end; at += kPushBytes) {
    bytes.resize(std::min(end - at, kPushBytes));
    if (!pack_->Read(positions_[index] + (at - begin), bytes).has_value()) return;
    notifier_->Store(ToUint(run.inode), at, bytes);
  }
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_phase.h"

#include <pthread.h>

#include <chrono>

#include "index/base/log.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kLookAgain{50};
// From the pack's end on. A start-up that takes longer is slower for it, and no more.
constexpr std::chrono::seconds kSettle{5};

}  // namespace

StartupPhase::StartupPhase(std::shared_ptr<StartupPack> pack, FileReader& reader,
                           const std::string& mount_point, std::function<void()> on_through)
    : pack_(std::move(pack)), reader_(reader), on_through_(std::move(on_through)) {
  if (pack_ == nullptr || pack_->runs().empty()) {
    if (on_through_) on_through_();
    return;
  }
  CloseWindow(mount_point);
  thread_ = std::jthread([this] {
    ::pthread_setname_np(::pthread_self(), "lf-phase");
    Run();
  });
}

StartupPhase::~StartupPhase() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
}

void StartupPhase::CloseWindow(const std::string& mount_point) {
  auto window = ReadaheadWindow::Find(mount_point);
  const auto before = window.has_value() ? window->Get() : Fail(window.error());
  const Status closed = before.has_value() ? window->Set(0) : Fail(before.error());
  if (closed.has_value()) {
    window_ = std::move(*window);
    usual_kib_ = *before;
  } else {
    LogDebug("readahead stays as it is: " + closed.error().context);
  }
}

void StartupPhase::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_ && !pack_->ended()) changed_.wait_for(lock, kLookAgain);
  if (stop_) return;
  lock.unlock();
  PrefetchBareRuns();
  if (on_through_) on_through_();
  lock.lock();
  changed_.wait_for(lock, kSettle, [this] { return stop_; });
  if (stop_ || !window_.has_value()) return;
  const Status opened = window_->Set(usual_kib_);
  if (!opened.has_value()) LogDebug("readahead stays closed: " + opened.error().context);
}

void StartupPhase::PrefetchBareRuns() {
  const auto& runs = pack_->runs();
  for (size_t i = pack_->head().run_count; i < runs.size(); ++i) {
    reader_.Prefetch(runs[i].inode, runs[i].first_page * kPackPageBytes,
                     runs[i].pages * kPackPageBytes);
  }
}

}  // namespace layerfs

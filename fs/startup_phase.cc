// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_phase.h"

#include <pthread.h>

#include <chrono>

#include "fs/quiet_watch.h"
#include "index/base/log.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kLookAgain{50};
// A start that computes without a request to the mount, or waits for another program, goes on after
// less than this, mostly.
constexpr std::chrono::milliseconds kQuiet{500};
// From the pack's end on. A start-up that takes longer is slower for it, and no more.
constexpr std::chrono::seconds kLongestWait{10};
constexpr std::chrono::seconds kWindowClosed{5};

}  // namespace

StartupPhase::StartupPhase(std::shared_ptr<StartupPack> pack, FileReader& reader,
                           const std::string& mount_point, Hooks hooks)
    : pack_(pack != nullptr && !pack->runs().empty() ? std::move(pack) : nullptr),
      reader_(reader),
      hooks_(std::move(hooks)) {
  if (pack_ != nullptr) CloseWindow(mount_point);
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
  while (!stop_ && pack_ != nullptr && !pack_->ended()) changed_.wait_for(lock, kLookAgain);
  if (stop_) return;
  lock.unlock();
  const TimePoint through = SteadyClock().Now();
  PrefetchBareRuns();
  lock.lock();
  WaitForQuiet(lock, through + kWindowClosed);
  if (stop_) return;
  lock.unlock();
  hooks_.on_settled();
  lock.lock();
  if (!window_.has_value()) return;
  changed_.wait_until(lock, through + kWindowClosed, [this] { return stop_; });
  if (!stop_) OpenWindow();
}

void StartupPhase::OpenWindow() {
  if (!window_.has_value()) return;
  const Status opened = window_->Set(usual_kib_);
  if (!opened.has_value()) LogDebug("readahead stays closed: " + opened.error().context);
  window_.reset();
}

void StartupPhase::WaitForQuiet(std::unique_lock<std::mutex>& lock, TimePoint open_window_at) {
  QuietWatch watch({.quiet = kQuiet, .longest_wait = kLongestWait}, SteadyClock().Now(),
                   hooks_.uses());
  while (!stop_) {
    changed_.wait_for(lock, kLookAgain);
    const TimePoint now = SteadyClock().Now();
    if (now >= open_window_at) OpenWindow();
    if (watch.Look(now, hooks_.uses(), reader_.waiting_reads() > 0)) return;
  }
}

void StartupPhase::PrefetchBareRuns() {
  if (pack_ == nullptr) return;
  const auto& runs = pack_->runs();
  for (size_t i = pack_->head().run_count; i < runs.size(); ++i) {
    reader_.Prefetch(runs[i].inode, runs[i].first_page * kPackPageBytes,
                     runs[i].pages * kPackPageBytes);
  }
}

}  // namespace layerfs

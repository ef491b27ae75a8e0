// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/ending_signals.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>

namespace layerfs {
namespace {

constexpr std::array kEnding = {SIGINT, SIGTERM, SIGHUP};

constexpr std::chrono::milliseconds kLook{50};  // A person does not notice it.

// Under nohup(1), or behind a script's &, some are ignored. Blocked, they would wait all the same.
bool IsIgnored(int signal) {
  struct sigaction action{};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t EndingSet() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kEnding) {
    if (!IsIgnored(signal)) ::sigaddset(&set, signal);
  }
  return set;
}

// False where `end` came first.
bool Sleep(const std::stop_token& end, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any wake;
  wake.wait_for(lock, end, time, [] { return false; });
  return !end.stop_requested();
}

}  // namespace

EndingSignals::EndingSignals() {
  const sigset_t set = EndingSet();
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
}

EndingSignals::~EndingSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

bool EndingSignals::Pending() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigpending(&set);
  return std::ranges::any_of(
      kEnding, [&](int signal) { return ::sigismember(&set, signal) == 1 && !IsIgnored(signal); });
}

EndingWatch::EndingWatch(std::chrono::milliseconds patience)
    : thread_([this, patience](const std::stop_token& end) { Watch(end, patience); }) {}

void EndingWatch::Watch(const std::stop_token& end, std::chrono::milliseconds patience) {
  while (!EndingSignals::Pending()) {
    if (!Sleep(end, kLook)) return;
  }
  stopped_.store(true);
  if (!Sleep(end, patience)) return;
  const sigset_t set = EndingSet();
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace layerfs

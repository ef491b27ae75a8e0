// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/ending_signals.h"

#include <algorithm>
#include <array>

namespace layerfs {
namespace {

constexpr std::array kEnding = {SIGINT, SIGTERM, SIGHUP};

}  // namespace

EndingSignals::EndingSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kEnding) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
}

EndingSignals::~EndingSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

bool EndingSignals::Pending() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigpending(&set);
  return std::ranges::any_of(kEnding, [&](int signal) { return ::sigismember(&set, signal) == 1; });
}

}  // namespace layerfs

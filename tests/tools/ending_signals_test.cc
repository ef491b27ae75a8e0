// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/ending_signals.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

namespace layerfs {
namespace {

TEST(EndingSignals, WhatComesWaitsForTheEnd) {
  EXPECT_EXIT(
      {
        {
          const EndingSignals ending;
          std::raise(SIGTERM);
          if (!EndingSignals::Pending()) std::_Exit(1);
        }
        std::_Exit(2);
      },
      testing::KilledBySignal(SIGTERM), "");
}

// nohup(1), and a script's background jobs.
TEST(EndingSignals, WhatIsIgnoredStaysIgnored) {
  EXPECT_EXIT(
      {
        std::signal(SIGHUP, SIG_IGN);
        std::signal(SIGINT, SIG_IGN);
        {
          const EndingSignals ending;
          std::raise(SIGHUP);
          std::raise(SIGINT);
          if (EndingSignals::Pending()) std::_Exit(1);
        }
        std::_Exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace layerfs

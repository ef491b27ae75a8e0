// SPDX-License-Identifier: Apache-2.0
#include "fetch/priority_workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

namespace layerfs {
namespace {

// What the tasks do and how far they are.
struct Progress {
  int begun = 0;
  int ended = 0;
  bool may_end = false;
};

class PriorityWorkersTest : public testing::Test {
 protected:
  static constexpr int kThreads = 2;

  void SubmitBlocked(FetchClass fetch_class) {
    workers_.Submit(fetch_class, [this] {
      progress_.WithNotify([](Progress& p) { ++p.begun; });
      progress_.WaitThen([](Progress& p) { return p.may_end; }, [](Progress& p) { ++p.ended; });
    });
  }
  void WaitForBegun(int count) {
    progress_.WaitThen([&](Progress& p) { return p.begun >= count; }, [](Progress&) {});
  }

  // Outlives the workers, whose end waits for the tasks.
  Synchronized<Progress> progress_;
  PriorityWorkers workers_{kThreads};
};

TEST_F(PriorityWorkersTest, DemandFindsAThreadWhateverElseIsRunning) {
  for (int i = 0; i < 3 * kThreads; ++i) SubmitBlocked(FetchClass::kFill);
  WaitForBegun(kThreads);
  Synchronized<bool> served;
  workers_.Submit(FetchClass::kDemand, [&] { served.WithNotify([](bool& s) { s = true; }); });
  served.WaitThen([](bool& s) { return s; }, [](bool&) {});
  progress_.WithNotify([](Progress& p) {
    EXPECT_EQ(p.begun, kThreads) << "what is less urgent has taken demand's thread";
    p.may_end = true;
  });
}

TEST_F(PriorityWorkersTest, DemandIsWorkedOnByAll) {
  for (int i = 0; i <= kThreads; ++i) SubmitBlocked(FetchClass::kDemand);
  WaitForBegun(kThreads + 1);
  progress_.WithNotify([](Progress& p) { p.may_end = true; });
}

TEST(PriorityWorkersEndTest, EverythingThatWasSubmittedIsDoneBeforeTheyEnd) {
  std::atomic<int> done{0};
  {
    PriorityWorkers workers(1);
    for (int i = 0; i < 1000; ++i) {
      workers.Submit(static_cast<FetchClass>(i % 4), [&done] { ++done; });
    }
  }
  EXPECT_EQ(done, 1000);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <latch>
#include <string>
#include <vector>

#include "index/base/synchronized.h"

namespace layerfs {
namespace {

TEST(ThreadPool, FinishesTheQueueBeforeItEnds) {
  std::atomic<int> done{0};
  {
    ThreadPool pool("test", 3);
    EXPECT_EQ(pool.thread_count(), 3);
    for (int i = 0; i < 1000; ++i) pool.Submit([&] { done.fetch_add(1); });
  }
  EXPECT_EQ(done.load(), 1000);
}

TEST(ThreadPool, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ThreadPool pool("test", 1);
    for (int i = 0; i < 100; ++i) pool.Submit([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ThreadPool, AllThreadsWorkAtOnce) {
  constexpr int kThreads = 4;
  std::latch all_here(kThreads);
  ThreadPool pool("test", kThreads);
  for (int i = 0; i < kThreads; ++i) pool.Submit([&] { all_here.arrive_and_wait(); });
  all_here.wait();  // Would hang, and time out, with fewer threads.
}

TEST(ThreadPool, ATaskMaySubmitATask) {
  std::atomic<int> done{0};
  std::latch submitted(1);
  {
    ThreadPool pool("test", 1);
    pool.Submit([&] {
      pool.Submit([&] { done.fetch_add(1); });
      submitted.count_down();
    });
    submitted.wait();
  }
  EXPECT_EQ(done.load(), 1);
}

TEST(ThreadPool, ThreadsAreNamed) {
  std::string name;
  {
    ThreadPool pool("eleven-char", 1);
    pool.Submit([&] {
      char buffer[16];
      ASSERT_EQ(pthread_getname_np(pthread_self(), buffer, sizeof buffer), 0);
      name = buffer;
    });
  }
  EXPECT_EQ(name, "eleven-char-0");
}

}  // namespace
}  // namespace layerfs

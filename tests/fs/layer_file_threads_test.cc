// SPDX-License-Identifier: Apache-2.0
// LayerFile under threads that write to the same pages, read, interrupt and fill at once; for the
// thread sanitizer above all.
#include <random>
#include <thread>

#include "tests/fs/layer_file_fixture.h"

namespace layerfs {
namespace {

constexpr uint64_t kStripe = 700;  // several of them share a page
constexpr size_t kWriters = 3;
constexpr int kWritesEach = 300;
constexpr uint64_t kLowerBytes = 60 * kPage + 123;

class Waiter {
 public:
  void Done(bool ok) {
    state_.WithNotify([&](auto& state) { state = ok; });
  }
  bool Wait() {
    return state_.WaitThen([](auto& state) { return state.has_value(); },
                           [](auto& state) { return *state; });
  }

 private:
  Synchronized<std::optional<bool>> state_;
};

// Each writer has every third stripe for itself, and knows what it wrote last.
void WriteStripes(LayerFileFixture& t, size_t writer, Bytes& expected) {
  std::mt19937_64 random(writer);
  for (int i = 0; i < kWritesEach; ++i) {
    const uint64_t stripe = random() % (kLowerBytes / kStripe / kWriters - 1) * kWriters + writer;
    const Bytes data = Pattern(kStripe, static_cast<uint8_t>(random()));
    const auto token = t.interrupts.Announce();
    const auto waiter = std::make_shared<Waiter>();
    t.file->Write(token, stripe * kStripe, data, {},
                  [waiter](const Result<size_t>& written) { waiter->Done(written.has_value()); });
    if (i % 10 == 0) t.interrupts.Interrupt(token);
    if (!waiter->Wait()) continue;
    std::ranges::copy(data, expected.begin() + static_cast<std::ptrdiff_t>(stripe * kStripe));
  }
}

TEST(LayerFileThreadsTest, WritersOfSharedPagesLoseNothing) {
  LayerFileFixture t(Pattern(kLowerBytes));
  t.CopyUp();
  t.Open();
  t.lower->Hold(true);
  std::atomic<bool> stop{false};
  std::thread network([&] {
    while (!stop || t.lower->held() > 0) {
      t.lower->Release();
      std::this_thread::yield();
    }
  });
  std::thread reader([&] {
    std::mt19937_64 random(99);
    while (!stop) {
      const auto waiter = std::make_shared<Waiter>();
      t.file->Read(0, random() % kLowerBytes, 3 * kPage,
                   [waiter](const Result<ByteSpan>& bytes) { waiter->Done(bytes.has_value()); });
      EXPECT_TRUE(waiter->Wait());
      (void)t.file->Seek(random() % kLowerBytes, SEEK_HOLE);
    }
  });
  std::vector<Bytes> expected(kWriters, Pattern(kLowerBytes));
  std::vector<std::thread> writers;
  for (size_t i = 0; i < kWriters; ++i)
    writers.emplace_back([&, i] { WriteStripes(t, i, expected[i]); });
  for (std::thread& writer : writers) writer.join();
  const auto waiter = std::make_shared<Waiter>();
  t.file->MakeWhole(0, [waiter](const Status& whole) { waiter->Done(whole.has_value()); });
  EXPECT_TRUE(waiter->Wait());
  stop = true;
  reader.join();
  network.join();
  EXPECT_TRUE(t.file->whole());
  EXPECT_TRUE(t.file->Seal().has_value());
  const Bytes content = t.Content();
  for (uint64_t i = 0; i < kLowerBytes; ++i) {
    const uint8_t wanted = expected[i / kStripe % kWriters][i];
    ASSERT_EQ(content[i], wanted) << "byte " << i;
  }
}

// Who closes a file last makes it a plain one if it is whole: somebody may just be opening it.
TEST(LayerFileThreadsTest, WhatIsMadePlainMeanwhileCanBeOpened) {
  constexpr int kRounds = 200;
  int found_none = 0;
  for (int round = 0; round < kRounds; ++round) {
    LayerFileFixture t(Pattern(3 * kPage));
    t.CopyUp();
    const auto maps = t.Maps();
    auto upper = OpenFile(t.upper_path(), O_RDWR);
    ASSERT_TRUE(upper.has_value());
    const auto map = maps->Load(upper->get(), t.identity());
    ASSERT_TRUE(map.has_value());
    ASSERT_TRUE((*map)->SetPresent(0, 3).has_value());
    std::atomic<bool> opens{false};
    std::thread opener([&] {
      auto again = OpenFile(t.upper_path(), O_RDWR);
      ASSERT_TRUE(again.has_value());
      for (;;) {
        const auto loaded = t.Maps()->Load(again->get(), t.identity());
        opens = true;
        ASSERT_TRUE(loaded.has_value()) << loaded.error().context;
        if (*loaded == nullptr) break;
      }
      ++found_none;
    });
    while (!opens) std::this_thread::yield();
    EXPECT_TRUE(maps->Detach(upper->get(), **map).has_value());
    opener.join();
  }
  EXPECT_EQ(found_none, kRounds);
}

}  // namespace
}  // namespace layerfs

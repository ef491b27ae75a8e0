// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_pusher.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "tests/fetch/fake_source.h"
#include "tests/fetch/temp_dir.h"

namespace layerfs {
namespace {

constexpr InodeNumber kFile{5};
constexpr InodeNumber kOther{9};
constexpr uint64_t kPage = kPackPageBytes;
constexpr uint64_t kFileBytes = 2 * kPage + 100;

// The kernel's page cache, as far as pushing goes.
class FakeKernel final : public Notifier {
 public:
  struct Stored {
    NodeId node = 0;
    uint64_t offset = 0;
    uint64_t size = 0;
    auto operator<=>(const Stored&) const = default;
  };
  void InvalidateEntry(NodeId, std::string_view) override {}
  void InvalidateNode(NodeId, int64_t, int64_t) override {}
  int RegisterBackingFile(int) override { return -EPERM; }
  void UnregisterBackingFile(int) override {}
  bool Store(NodeId node, uint64_t offset, ByteSpan bytes) override {
    state_.WithNotify([](State& s) { s.storing = true; });
    state_.WaitThen([](State& s) { return !s.page_locked; }, [](State&) {});
    return state_.WithNotify([&](State& s) {
      s.storing = false;
      s.stores.insert({node, offset, bytes.size()});
      return true;
    });
  }

  void LockPage(bool locked) {
    state_.WithNotify([&](State& s) { s.page_locked = locked; });
  }
  void WaitUntilStoring() {
    state_.WaitThen([](State& s) { return s.storing; }, [](State&) {});
  }
  void WaitForStores(size_t count) {
    state_.WaitThen([&](State& s) { return s.stores.size() >= count; }, [](State&) {});
  }
  std::set<Stored> stores() const {
    return state_.With([](const State& s) { return s.stores; });
  }

 private:
  struct State {
    std::set<Stored> stores;
    bool page_locked = false;
    bool storing = false;
  };
  Synchronized<State> state_;
};
using Stores = std::set<FakeKernel::Stored>;

// A pack of page 0 of kFile, page 0 of kOther, and pages 1 and 2 of kFile, which ends in the last.
class StartupPusherTest : public testing::Test {
 protected:
  StartupPusherTest() {
    head_.page_count = 4;
    head_.run_count = 3;
    const Bytes pages(4 * kPage, 7);
    head_.pages_digest = Digest::Of(pages);
    head_.parts = {{PackPartKind::kTree, 10, 10, {}},
                   {PackPartKind::kRuns, 10, 36, {}},
                   {PackPartKind::kPages, 100, 4 * kPage, {}}};
    ObjectCache::Options options;
    options.directory = directory_.path() + "/cache";
    cache_ = std::move(*ObjectCache::Open(options));
    auto object = std::move(*cache_->OpenObject({head_.pages_digest, 4 * kPage, {}}));
    pack_ = std::make_shared<StartupPack>(
        head_, std::vector<PackRun>{{kFile, 0, 1}, {kOther, 0, 1}, {kFile, 1, 2}},
        std::move(object), false);
    pusher_.emplace(
        pack_, [](InodeNumber inode) { return inode == kFile ? kFileBytes : kPage; }, clock_);
    pusher_->Start(kernel_);
  }
  ~StartupPusherTest() override {
    kernel_.LockPage(false);
    pusher_->Stop();
  }

  // What had been pushed when the open was answered; nothing while it has not been.
  using Opened = std::shared_ptr<Synchronized<std::optional<Stores>>>;
  Opened Open(InodeNumber inode) {
    auto opened = std::make_shared<Synchronized<std::optional<Stores>>>();
    pusher_->BeforeOpen(
        inode, [this, opened] { opened->WithNotify([&](auto& at) { at = kernel_.stores(); }); });
    return opened;
  }
  static std::optional<Stores> Peek(const Opened& opened) {
    return opened->With([](auto& at) { return at; });
  }
  static Stores Wait(const Opened& opened) {
    return opened->WaitThen([](auto& at) { return at.has_value(); }, [](auto& at) { return *at; });
  }

  void Arrive(size_t pages) { ASSERT_TRUE(pack_->Append(Bytes(pages * kPage, 7)).has_value()); }

  TempDir directory_;
  PackHead head_;
  std::shared_ptr<ObjectCache> cache_;
  std::shared_ptr<StartupPack> pack_;
  FakeKernel kernel_;
  FakeClock clock_;
  std::optional<StartupPusher> pusher_;
};

const Stores kFirstPage = {{5, 0, kPage}};
const Stores kWholeFile = {{5, 0, kPage}, {5, kPage, kFileBytes - kPage}};

TEST_F(StartupPusherTest, PagesOfOpenFilesArePushedAsTheyCome) {
  EXPECT_EQ(Peek(Open(kFile)), Stores{});
  Arrive(2);
  kernel_.WaitForStores(1);
  EXPECT_EQ(kernel_.stores(), kFirstPage);
  Arrive(2);
  kernel_.WaitForStores(2);
  EXPECT_EQ(kernel_.stores(), kWholeFile);
}

TEST_F(StartupPusherTest, WhatIsThereIsPushedBeforeTheFileIsOpen) {
  Arrive(2);
  EXPECT_EQ(Peek(Open(kFile)), kFirstPage);
  Arrive(2);
  EXPECT_EQ(Peek(Open(kOther)).value_or(Stores{}).count({9, 0, kPage}), 1U);
  kernel_.WaitForStores(3);
}

TEST_F(StartupPusherTest, AFileThatWasOpenBeforeIsNotWaitedFor) {
  Open(kFile);
  kernel_.LockPage(true);
  Arrive(4);
  kernel_.WaitUntilStoring();
  EXPECT_EQ(Peek(Open(kFile)), Stores{});
}

TEST_F(StartupPusherTest, AnOpenAmidTheFirstIsAnsweredWithItAndNoThreadWaits) {
  Arrive(4);
  kernel_.LockPage(true);
  Opened first;
  std::jthread opener([&] { first = Open(kFile); });
  kernel_.WaitUntilStoring();
  const Opened second = Open(kFile);
  EXPECT_EQ(Peek(second), std::nullopt);
  kernel_.LockPage(false);
  EXPECT_EQ(Wait(second), kWholeFile);
  opener.join();
  EXPECT_EQ(Peek(first), kWholeFile);
}

TEST_F(StartupPusherTest, WhatComesAmidAnOpenIsPushedAfterIt) {
  Arrive(2);
  kernel_.LockPage(true);
  Opened opened;
  std::jthread opener([&] { opened = Open(kFile); });
  kernel_.WaitUntilStoring();
  Arrive(2);
  kernel_.LockPage(false);
  opener.join();
  kernel_.WaitForStores(2);
  EXPECT_EQ(kernel_.stores(), kWholeFile);
}

TEST_F(StartupPusherTest, AFileThatChangesIsNotPushedAnyMore) {
  Open(kFile);
  Open(kOther);
  bool told = false;
  pusher_->Forbid(kFile, [&] { told = true; });
  EXPECT_TRUE(told);
  Arrive(4);
  kernel_.WaitForStores(1);
  EXPECT_NE(Peek(Open(kFile)), std::nullopt);
  pusher_->Stop();
  EXPECT_EQ(kernel_.stores(), (Stores{{9, 0, kPage}}));
}

TEST_F(StartupPusherTest, AChangeWaitsForThePushThatIsUnderWayAndNoThreadForIt) {
  Open(kFile);
  kernel_.LockPage(true);
  Arrive(4);
  kernel_.WaitUntilStoring();
  const auto told = std::make_shared<Synchronized<std::optional<Stores>>>();
  pusher_->Forbid(kFile, [&, told] { told->WithNotify([&](auto& at) { at = kernel_.stores(); }); });
  EXPECT_EQ(Peek(told), std::nullopt);
  kernel_.LockPage(false);
  const Stores when_told = Wait(told);
  pusher_->Stop();
  EXPECT_EQ(when_told, kFirstPage);
  EXPECT_EQ(kernel_.stores(), when_told);
}

TEST_F(StartupPusherTest, IsSettledSomeSecondsAfterThePackHasEnded) {
  Open(kFile);
  Arrive(4);
  kernel_.WaitForStores(2);
  clock_.Advance(std::chrono::seconds(60));
  EXPECT_FALSE(pusher_->settled());
  pack_->End();
  EXPECT_FALSE(pusher_->settled());
  const auto give_up = std::chrono::steady_clock::now() + kTestPatience;
  while (!pusher_->settled() && std::chrono::steady_clock::now() < give_up) {
    clock_.Advance(std::chrono::seconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(pusher_->settled());
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_pusher.h"

#include <gtest/gtest.h>

#include <set>

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
  struct Store_ {
    NodeId node = 0;
    uint64_t offset = 0;
    uint64_t size = 0;
    auto operator<=>(const Store_&) const = default;
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
      if (s.unknown_for > 0) return --s.unknown_for, false;
      s.stores.insert({node, offset, bytes.size()});
      return true;
    });
  }

  void LockPage(bool locked) {
    state_.WithNotify([&](State& s) { s.page_locked = locked; });
  }
  // The next stores come before the kernel knows their node.
  void BeSlow(int stores) {
    state_.With([&](State& s) { s.unknown_for = stores; });
  }
  void WaitUntilStoring() {
    state_.WaitThen([](State& s) { return s.storing; }, [](State&) {});
  }
  void WaitForStores(size_t count) {
    state_.WaitThen([&](State& s) { return s.stores.size() >= count; }, [](State&) {});
  }
  std::set<Store_> stores() const {
    return state_.With([](const State& s) { return s.stores; });
  }

 private:
  struct State {
    std::set<Store_> stores;
    bool page_locked = false;
    bool storing = false;
    int unknown_for = 0;
  };
  Synchronized<State> state_;
};
using Stores = std::set<FakeKernel::Store_>;

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
    pusher_.emplace(pack_, [](InodeNumber inode) { return inode == kFile ? kFileBytes : kPage; });
    pusher_->Start(kernel_);
  }
  ~StartupPusherTest() override {
    kernel_.LockPage(false);
    pusher_->Stop();
  }

  void Arrive(size_t pages) { ASSERT_TRUE(pack_->Append(Bytes(pages * kPage, 7)).has_value()); }

  TempDir directory_;
  PackHead head_;
  std::shared_ptr<ObjectCache> cache_;
  std::shared_ptr<StartupPack> pack_;
  FakeKernel kernel_;
  std::optional<StartupPusher> pusher_;
};

TEST_F(StartupPusherTest, PagesOfKnownFilesArePushedAsTheyCome) {
  pusher_->OnKnown(kFile);
  Arrive(2);
  kernel_.WaitForStores(1);
  EXPECT_EQ(kernel_.stores(), (Stores{{5, 0, kPage}}));
  Arrive(2);
  kernel_.WaitForStores(2);
  EXPECT_EQ(kernel_.stores(), (Stores{{5, 0, kPage}, {5, kPage, kFileBytes - kPage}}));
}

TEST_F(StartupPusherTest, WhatCameBeforeIsPushedWhenTheFileBecomesKnown) {
  Arrive(4);
  pusher_->OnKnown(kOther);
  kernel_.WaitForStores(1);
  pusher_->OnKnown(kFile);
  kernel_.WaitForStores(3);
  EXPECT_EQ(kernel_.stores(),
            (Stores{{9, 0, kPage}, {5, 0, kPage}, {5, kPage, kFileBytes - kPage}}));
}

TEST_F(StartupPusherTest, AFileThatTheKernelIsAboutToKnowIsPushedAMomentLater) {
  Arrive(4);
  kernel_.BeSlow(2);
  pusher_->OnKnown(kFile);
  kernel_.WaitForStores(2);
  EXPECT_EQ(kernel_.stores(), (Stores{{5, 0, kPage}, {5, kPage, kFileBytes - kPage}}));
}

TEST_F(StartupPusherTest, AFileThatChangesIsNotPushedAnyMore) {
  pusher_->OnKnown(kFile);
  pusher_->OnKnown(kOther);
  bool told = false;
  pusher_->Forbid(kFile, [&] { told = true; });
  EXPECT_TRUE(told);
  Arrive(4);
  kernel_.WaitForStores(1);
  pusher_->Stop();
  EXPECT_EQ(kernel_.stores(), (Stores{{9, 0, kPage}}));
}

TEST_F(StartupPusherTest, AChangeWaitsForThePushThatIsUnderWayAndNoThreadForIt) {
  pusher_->OnKnown(kFile);
  kernel_.LockPage(true);
  Arrive(4);
  kernel_.WaitUntilStoring();
  auto told = std::make_shared<Synchronized<std::optional<Stores>>>();
  pusher_->Forbid(kFile, [&, told] { told->WithNotify([&](auto& at) { at = kernel_.stores(); }); });
  EXPECT_FALSE(told->With([](auto& at) { return at.has_value(); }));
  kernel_.LockPage(false);
  const Stores when_told =
      told->WaitThen([](auto& at) { return at.has_value(); }, [](auto& at) { return *at; });
  pusher_->Stop();
  EXPECT_EQ(when_told, (Stores{{5, 0, kPage}}));
  EXPECT_EQ(kernel_.stores(), when_told);
}

}  // namespace
}  // namespace layerfs

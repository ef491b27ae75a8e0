// SPDX-License-Identifier: Apache-2.0
// What goes when the cache is at its limit, and what stays.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <chrono>
#include <span>
#include <thread>
#include <vector>

#include "fetch/object_cache.h"
#include "index/base/file.h"
#include "tests/fetch/cache_testing.h"

namespace layerfs {
namespace {

constexpr size_t kPage = kCachePageBytes;

using CacheEvictionTest = ObjectCacheTest;

TEST_F(CacheEvictionTest, PruneEvictsTheLeastRecentlyUsedThatNobodyHasOpen) {
  const auto cache = OpenCache(CachePath());
  std::vector<ObjectId> ids;
  for (uint64_t i = 0; i < 4; ++i) {
    const Bytes content = PatternBytes(16 * kPage, 20 + i);
    ids.push_back(IdOf(content));
    ASSERT_TRUE(OpenObject(*cache, ids.back())->Write(0, content).has_value());
    SetTimes(Whole(ids.back()), static_cast<time_t>(1'000'000'000 + i));
  }
  const auto other_process = OpenCache(CachePath());
  const auto open_there = OpenObject(*other_process, ids[0]);
  const auto freed = cache->Prune(32 * kPage);
  ASSERT_TRUE(freed.has_value());
  EXPECT_EQ(32 * kPage, *freed);
  EXPECT_NE(nullptr, cache->FindWhole(ids[0])) << "open in another process";
  EXPECT_EQ(nullptr, cache->FindWhole(ids[1]));
  EXPECT_EQ(nullptr, cache->FindWhole(ids[2]));
  EXPECT_NE(nullptr, cache->FindWhole(ids[3]));
}

TEST_F(CacheEvictionTest, OpeningAnObjectMakesItRecentlyUsed) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(kPage, 30);
  ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, content).has_value());
  SetTimes(Whole(IdOf(content)), 1'000'000'000);
  OpenObject(*cache, IdOf(content));
  struct stat attributes;
  ASSERT_EQ(0, ::stat(Whole(IdOf(content)).c_str(), &attributes));
  EXPECT_GT(attributes.st_atim.tv_sec, 1'700'000'000);
  EXPECT_EQ(attributes.st_mtim.tv_sec, 1'000'000'000);
}

TEST_F(CacheEvictionTest, TheLimitHoldsWhileObjectsAreWritten) {
  constexpr uint64_t kLimit = 16 << 20;
  const auto cache = OpenCache(CachePath(), kLimit);
  for (uint64_t i = 0; i < 64; ++i) {
    const Bytes content = PatternBytes(1 << 20, 100 + i);
    ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, content).has_value());
  }
  const auto statistics = cache->Statistics();
  ASSERT_TRUE(statistics.has_value());
  EXPECT_LE(statistics->bytes, kLimit + (1 << 20));
  EXPECT_GE(statistics->bytes, kLimit / 2);
}

TEST_F(CacheEvictionTest, NewProcessKnowsWhatOthersHaveWritten) {
  constexpr uint64_t kLimit = 8 << 20;
  {
    const auto cache = OpenCache(CachePath(), kLimit);
    for (uint64_t i = 0; i < 8; ++i) {
      const Bytes content = PatternBytes(1 << 20, 600 + i);
      ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, content).has_value());
    }
  }
  EXPECT_FALSE(OpenCache(CachePath(), kLimit)->HasRoomFor(kPage));
}

TEST_F(CacheEvictionTest, CountOfUseThatIsNonsenseIsCountedAnew) {
  constexpr uint64_t kLimit = 64 << 20;
  OpenCache(CachePath(), kLimit).reset();
  uint64_t objects = 0;
  for (const int64_t count : {INT64_MAX, int64_t{1} << 40, int64_t{-5}}) {
    ByteWriter raw;
    raw.Write(count);
    ASSERT_TRUE(WriteFileAtomically(CachePath() + "/usage", raw.bytes(), {}).has_value());
    const auto cache = OpenCache(CachePath(), kLimit);
    for (int i = 0; i < 12; ++i) {
      const Bytes content = PatternBytes(1 << 20, 300 + objects++);
      EXPECT_TRUE(cache->HasRoomFor(content.size())) << count << ", " << i;
      EXPECT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, content).has_value());
    }
    EXPECT_EQ(objects, cache->Statistics().value_or(CacheStatistics{}).whole_objects) << count;
    EXPECT_FALSE(cache->HasRoomFor(kLimit - (objects << 20) + 1)) << count;
  }
}

TEST_F(CacheEvictionTest, WhenEverythingIsInUseTheLimitIsNoSpace) {
  constexpr uint64_t kLimit = 8 << 20;
  const auto cache = OpenCache(CachePath(), kLimit);
  std::vector<std::shared_ptr<CachedObject>> open;
  Status last;
  for (uint64_t i = 0; i < 12 && last.has_value(); ++i) {
    const Bytes content = PatternBytes(1 << 20, 200 + i);
    open.push_back(OpenObject(*cache, IdOf(content)));
    last = open.back()->Write(0, content);
  }
  ASSERT_FALSE(last.has_value());
  EXPECT_EQ(ErrorCode::kNoSpace, last.error().code);
  EXPECT_TRUE(open.front()->whole());
}

// As a reader does that goes through more than the limit.
TEST_F(CacheEvictionTest, WhatIsOnlyKeptOpenMakesRoomLeastRecentlyUsedFirst) {
  constexpr uint64_t kLimit = 8 << 20;
  const auto cache = OpenCache(CachePath(), kLimit);
  const auto write = [&](uint64_t seed) {
    const Bytes content = PatternBytes(1 << 20, 700 + seed);
    const auto object = cache->OpenKept(IdOf(content)).value();
    EXPECT_TRUE(object->WriteWhole(content).has_value()) << seed;
    // All of them as if they were written long ago, in their order.
    SetTimes(Whole(object->id()), static_cast<time_t>(1'000'000'000 + seed));
    return object;
  };
  const auto in_use = write(0);
  const ObjectId used_again = write(1)->id();
  const ObjectId used_once = write(2)->id();
  for (uint64_t i = 3; i < 40; ++i) {
    write(i);
    ASSERT_NE(nullptr, cache->FindWhole(used_again)) << i;
    EXPECT_TRUE(cache->OpenKept(used_again).has_value());
    // The clock of files' times may tick as rarely as that.
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_LE(cache->Statistics().value_or(CacheStatistics{}).bytes, kLimit) << i;
    EXPECT_TRUE(cache->keeps()) << i;
  }
  EXPECT_EQ(nullptr, cache->FindWhole(used_once));
  EXPECT_NE(nullptr, OpenCache(CachePath())->FindWhole(in_use->id()));
}

TEST_F(CacheEvictionTest, PruneLetsGoOfWhatIsOnlyKeptOpen) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(16 * kPage, 800);
  ASSERT_TRUE(cache->OpenKept(IdOf(content)).value()->WriteWhole(content).has_value());
  const auto other_process = OpenCache(CachePath());
  EXPECT_EQ(0U, other_process->Prune(0).value_or(1)) << "it is open in another process";
  EXPECT_EQ(content.size(), cache->Prune(0).value_or(0));
}

TEST_F(CacheEvictionTest, KeepsAgainOnceThereIsRoomForWhatWasRefused) {
  const auto cache = OpenCache(CachePath(), 1 << 20);
  std::vector<std::shared_ptr<CachedObject>> open;
  const auto write = [&](uint64_t seed) {
    const Bytes content = PatternBytes(1 << 20, 900 + seed);
    open.push_back(OpenObject(*cache, IdOf(content)));
    return open.back()->WriteWhole(content).has_value();
  };
  ASSERT_TRUE(write(0));
  ASSERT_FALSE(write(1));
  ASSERT_FALSE(write(2));
  ASSERT_FALSE(cache->keeps());
  open.clear();
  ASSERT_TRUE(cache->Prune(0).has_value());
  EXPECT_TRUE(cache->keeps());
}

TEST_F(CacheEvictionTest, RoomIsMadeOfWhatWasUsedBeforeATimeOnly) {
  constexpr uint64_t kLimit = 8 << 20;
  const auto cache = OpenCache(CachePath(), kLimit);
  std::vector<ObjectId> ids;
  for (uint64_t i = 0; i < 8; ++i) {
    const Bytes content = PatternBytes(1 << 20, 400 + i);
    ids.push_back(IdOf(content));
    ASSERT_TRUE(OpenObject(*cache, ids.back())->Write(0, content).has_value());
    SetTimes(Whole(ids.back()), 1'000'000'000);
  }
  EXPECT_FALSE(cache->HasRoomFor(1 << 20));
  const int64_t begin = cache->UseTimeNs();
  cache->NoteUse(std::span(ids).first(6));
  EXPECT_FALSE(cache->MakeRoomFor(3 << 20, begin)) << "two of them is all that may go";
  for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(i < 6, cache->FindWhole(ids[i]) != nullptr) << i;
  EXPECT_TRUE(cache->MakeRoomFor(2 << 20, begin));
  EXPECT_TRUE(cache->MakeRoomFor(3 << 20, INT64_MAX));
}

// A disk of its own for the cache; needs root.
class FullDiskEvictionTest : public CacheEvictionTest {
 protected:
  void SetUp() override {
    ASSERT_EQ(0, ::mkdir(CachePath().c_str(), 0700));
    mounted_ = ::mount("cache", CachePath().c_str(), "tmpfs", 0, "mode=0700,size=16M") == 0;
    if (!mounted_) GTEST_SKIP() << "needs root, to mount";
  }
  void TearDown() override {
    if (mounted_) ::umount2(CachePath().c_str(), MNT_DETACH);
  }
  void Write(ObjectCache& cache, uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; ++i) {
      const Bytes content = PatternBytes(1 << 20, 1000 + i);
      ASSERT_TRUE(OpenObject(cache, IdOf(content))->WriteWhole(content).has_value()) << i;
    }
  }

 private:
  bool mounted_ = false;
};

TEST_F(FullDiskEvictionTest, ProcessThatHasWrittenLittleEvictsLittle) {
  Write(*OpenCache(CachePath()), 0, 15);
  const auto cache = OpenCache(CachePath());
  Write(*cache, 15, 3);
  EXPECT_GE(cache->Statistics().value_or(CacheStatistics{}).whole_objects, 14U);
}

TEST_F(CacheEvictionTest, SaysWhetherItKeepsWhatIsWritten) {
  const auto cache = OpenCache(CachePath(), 1 << 20);
  EXPECT_TRUE(cache->keeps());
  std::vector<std::shared_ptr<CachedObject>> open;
  const auto write = [&](size_t size, uint64_t seed) {
    const Bytes content = PatternBytes(size, seed);
    open.push_back(OpenObject(*cache, IdOf(content)));
    return open.back()->Write(0, content).has_value();
  };
  EXPECT_TRUE(write(1 << 20, 500));
  EXPECT_FALSE(write(1 << 19, 501));
  EXPECT_TRUE(cache->keeps()) << "one that is too large says nothing of others";
  EXPECT_FALSE(write(1 << 19, 502));
  EXPECT_FALSE(cache->keeps());
  EXPECT_TRUE(write(kPage, 503));
  EXPECT_TRUE(cache->keeps());
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// What goes when the cache is at its limit, and what stays.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <span>
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

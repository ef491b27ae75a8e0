// SPDX-License-Identifier: Apache-2.0
// What is at hand is used again: content that must first prove itself, and chunks of other objects.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "tests/fetch/cache_testing.h"

namespace layerfs {
namespace {

constexpr size_t kPage = kCachePageBytes;

// Whole objects of a cache whose machine went down, one of them damaged.
class DamagedCacheTest : public ObjectCacheTest {
 protected:
  std::shared_ptr<ObjectCache> Open(VerifyCache verify) const {
    auto cache = ObjectCache::Open(
        {.directory = CachePath(), .limit_bytes = 0, .read_only = false, .verify = verify});
    EXPECT_TRUE(cache.has_value());
    return cache.value_or(nullptr);
  }
  void Keep(const Bytes& content) const {
    ASSERT_TRUE(
        OpenObject(*Open(VerifyCache::kNever), IdOf(content))->Write(0, content).has_value());
  }
  void FlipByte(const std::string& path, uint64_t offset) const {
    ASSERT_EQ(0, ::chmod(path.c_str(), 0600));
    const auto file = OpenFile(path, O_RDWR);
    ASSERT_TRUE(file.has_value());
    struct stat before;
    ASSERT_EQ(0, ::fstat(file->get(), &before));
    uint8_t byte[1];
    ASSERT_TRUE(ReadFullAt(file->get(), offset, byte).has_value());
    byte[0] ^= 1;
    ASSERT_TRUE(WriteFullAt(file->get(), offset, byte).has_value());
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(0, ::futimens(file->get(), times));
  }
};

TEST_F(DamagedCacheTest, SmallObjectIsCheckedAsItIsOpenedAndDroppedWhenItIsWrong) {
  const Bytes content = PatternBytes(10 * kPage, 60);
  ObjectId file = IdOf(content);
  file.scope = Digest::Of(PatternBytes(1, 1));
  struct Row {
    const char* name;
    ObjectId id;
    VerifyCache verify;
    bool crash;
    bool found_out;
  };
  for (const Row& row :
       {Row{"always", file, VerifyCache::kAlways, false, true},
        Row{"unclean, after a crash", file, VerifyCache::kUnclean, true, true},
        Row{"unclean, without one", file, VerifyCache::kUnclean, false, false},
        Row{"unclean, without one, a chunk", IdOf(content), VerifyCache::kUnclean, false, true},
        Row{"never, after a crash", file, VerifyCache::kNever, true, false},
        Row{"never, a chunk", IdOf(content), VerifyCache::kNever, false, false}}) {
    Keep(content);
    FlipByte(Whole(IdOf(content)), 5 * kPage);
    if (row.crash) PretendCrashOfTheMachine(CachePath());
    const auto cache = Open(row.verify);
    const auto object = OpenObject(*cache, row.id);
    EXPECT_EQ(!row.found_out, object->whole()) << row.name;
    EXPECT_EQ(!row.found_out, std::filesystem::exists(Whole(IdOf(content)))) << row.name;
    std::filesystem::remove(Whole(IdOf(content)));
  }
}

TEST_F(DamagedCacheTest, LargeObjectIsCheckedChunkByChunk) {
  constexpr size_t kChunk = 256 * 1024;
  const Bytes content = PatternBytes(8 * kChunk, 61);
  const auto chunk = [&](size_t i) { return Digest::Of(Part(content, i * kChunk, kChunk)); };
  Keep(content);
  PretendCrashOfTheMachine(CachePath());
  {
    const auto cache = Open(VerifyCache::kUnclean);
    const auto object = OpenObject(*cache, IdOf(content));
    EXPECT_FALSE(object->whole());
    EXPECT_FALSE(object->Contains(0, kPage)) << "not yet verified";
    for (size_t i = 0; i < 8; ++i) {
      ASSERT_TRUE(object->HasCandidate(chunk(i), i * kChunk, kChunk));
      const auto adopted = object->AdoptCandidate(chunk(i), i * kChunk, kChunk);
      ASSERT_TRUE(adopted.has_value()) << adopted.error().context;
      EXPECT_EQ(Bytes(content.begin() + static_cast<ptrdiff_t>(i * kChunk),
                      content.begin() + static_cast<ptrdiff_t>((i + 1) * kChunk)),
                **adopted);
      EXPECT_TRUE(object->Contains(i * kChunk, kChunk));
    }
    EXPECT_TRUE(object->whole());
  }
  EXPECT_TRUE(OpenObject(*Open(VerifyCache::kUnclean), IdOf(content))->whole())
      << "verified once is enough";
}

TEST_F(DamagedCacheTest, DamagedLargeObjectIsDroppedAndCanBeWrittenAnew) {
  constexpr size_t kChunk = 256 * 1024;
  const Bytes content = PatternBytes(8 * kChunk, 62);
  Keep(content);
  FlipByte(Whole(IdOf(content)), 3 * kChunk + 5);
  const auto cache = Open(VerifyCache::kAlways);
  const auto object = OpenObject(*cache, IdOf(content));
  const Digest first = Digest::Of(Part(content, 0, kChunk));
  EXPECT_TRUE(object->AdoptCandidate(first, 0, kChunk).has_value());
  const Digest damaged = Digest::Of(Part(content, 3 * kChunk, kChunk));
  const auto adopted = object->AdoptCandidate(damaged, 3 * kChunk, kChunk);
  ASSERT_FALSE(adopted.has_value());
  EXPECT_EQ(ErrorCode::kDigestMismatch, adopted.error().code);
  EXPECT_FALSE(std::filesystem::exists(Whole(IdOf(content))));
  EXPECT_FALSE(object->Contains(0, kPage));
  EXPECT_FALSE(object->HasCandidate(damaged, 3 * kChunk, kChunk));
  for (size_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(object->Write(i * kChunk, Part(content, i * kChunk, kChunk)).has_value());
  }
  EXPECT_TRUE(object->whole());
  EXPECT_EQ(content, ReadRange(*object, 0, content.size()));
}

TEST_F(DamagedCacheTest, PagesOfAPartialObjectAreVerifiedAnewWhereThatIsAlwaysWanted) {
  constexpr size_t kChunk = 64 * 1024;
  const Bytes content = PatternBytes(4 * kChunk, 63);
  {
    const auto cache = Open(VerifyCache::kNever);
    ASSERT_TRUE(
        OpenObject(*cache, IdOf(content))->Write(0, Part(content, 0, 2 * kChunk)).has_value());
  }
  const auto cache = Open(VerifyCache::kAlways);
  const auto object = OpenObject(*cache, IdOf(content));
  const Digest first = Digest::Of(Part(content, 0, kChunk));
  EXPECT_FALSE(object->Contains(0, kChunk));
  EXPECT_TRUE(object->HasCandidate(first, 0, kChunk));
  EXPECT_TRUE(object->AdoptCandidate(first, 0, kChunk).has_value());
  EXPECT_TRUE(object->Contains(0, kChunk));
  EXPECT_FALSE(object->Contains(kChunk, kChunk));
  const Digest last = Digest::Of(Part(content, 3 * kChunk, kChunk));
  EXPECT_FALSE(object->HasCandidate(last, 3 * kChunk, kChunk)) << "was never written";
  ASSERT_TRUE(object->Write(2 * kChunk, Part(content, 2 * kChunk, 2 * kChunk)).has_value());
  EXPECT_TRUE(object->whole()) << "complete, and hashed as a whole";
}

TEST_F(ObjectCacheTest, ChunkOfAnotherObjectIsTakenOverWithoutBeingWrittenByTheCaller) {
  constexpr size_t kChunk = 128 * 1024;
  const auto cache = OpenCache(CachePath());
  const Bytes shared = PatternBytes(kChunk, 70);
  Bytes old_file = PatternBytes(2 * kChunk, 71);
  std::ranges::copy(shared, old_file.begin() + kChunk);
  Bytes new_file = PatternBytes(3 * kChunk, 72);
  std::ranges::copy(shared, new_file.begin());
  ObjectId old_id = IdOf(old_file);
  old_id.scope = Digest::Of(AsBytes("old tree"));
  const Digest chunk = Digest::Of(shared);
  const auto new_object = OpenObject(*cache, IdOf(new_file));
  EXPECT_FALSE(new_object->HasCandidate(chunk, 0, kChunk));
  {
    const auto old_object = OpenObject(*cache, old_id);
    ASSERT_TRUE(old_object->Write(kChunk, shared).has_value());
    old_object->NoteChunk(chunk, kChunk, kChunk);
  }
  ASSERT_TRUE(new_object->HasCandidate(chunk, 0, kChunk)) << "in a partial object of another scope";
  const auto adopted = new_object->AdoptCandidate(chunk, 0, kChunk);
  ASSERT_TRUE(adopted.has_value()) << adopted.error().context;
  EXPECT_EQ(shared, **adopted);
  EXPECT_TRUE(new_object->Contains(0, kChunk));
  EXPECT_EQ(shared, ReadRange(*new_object, 0, kChunk));
  // The other way round once the first is whole, and by a process that comes later.
  ASSERT_TRUE(OpenObject(*cache, old_id)->Write(0, Part(old_file, 0, kChunk)).has_value());
  const Bytes newest = PatternBytes(5 * kChunk, 73);
  const auto later = OpenCache(CachePath());
  EXPECT_TRUE(
      OpenObject(*later, IdOf(newest))->AdoptCandidate(chunk, 4 * kChunk, kChunk).has_value());
}

TEST_F(ObjectCacheTest, AWrongHintIsFoundOutAndForgotten) {
  constexpr size_t kChunk = 128 * 1024;
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(4 * kChunk, 74);
  const auto object = OpenObject(*cache, IdOf(content));
  ASSERT_TRUE(object->Write(0, Part(content, 0, kChunk)).has_value());
  const Digest chunk = Digest::Of(Part(content, kChunk, kChunk));
  object->NoteChunk(chunk, 0, kChunk);
  const auto other = OpenObject(*cache, IdOf(PatternBytes(2 * kChunk, 75)));
  EXPECT_TRUE(other->HasCandidate(chunk, 0, kChunk));
  EXPECT_FALSE(other->AdoptCandidate(chunk, 0, kChunk).has_value());
  EXPECT_FALSE(other->HasCandidate(chunk, 0, kChunk));
  EXPECT_FALSE(other->Contains(0, 1));
}

TEST_F(ObjectCacheTest, DiscardedObjectBeginsAnew) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(10 * kPage, 76);
  const auto object = OpenObject(*cache, IdOf(content));
  ASSERT_TRUE(object->Write(0, content).has_value());
  object->Discard();
  EXPECT_FALSE(object->whole());
  EXPECT_FALSE(object->Contains(0, 1));
  EXPECT_FALSE(std::filesystem::exists(Whole(IdOf(content))));
  ASSERT_TRUE(object->Write(0, content).has_value());
  EXPECT_EQ(content, ReadRange(*object, 0, content.size()));
}

TEST_F(ObjectCacheTest, PinnedObjectsAreNotEvictedUntilTheyAreUnpinned) {
  const auto cache = OpenCache(CachePath());
  const Bytes pinned = PatternBytes(16 * kPage, 80);
  const Bytes partial = PatternBytes(16 * kPage, 81);
  const Bytes other = PatternBytes(16 * kPage, 82);
  ObjectId partial_id = IdOf(partial);
  partial_id.scope = Digest::Of(AsBytes("tree"));
  ASSERT_TRUE(cache->Pin("example.com/app:1", std::vector{IdOf(pinned), partial_id}).has_value());
  ASSERT_TRUE(OpenObject(*cache, IdOf(pinned))->Write(0, pinned).has_value());
  ASSERT_TRUE(OpenObject(*cache, partial_id)->Write(0, Part(partial, 0, kPage)).has_value());
  ASSERT_TRUE(OpenObject(*cache, IdOf(other))->Write(0, other).has_value());
  EXPECT_EQ(2U, cache->Statistics().value_or(CacheStatistics{}).pinned_objects);

  // Another process evicts.
  ASSERT_TRUE(OpenCache(CachePath())->Prune(0).has_value());
  EXPECT_NE(nullptr, cache->FindWhole(IdOf(pinned)));
  EXPECT_TRUE(OpenObject(*cache, partial_id)->Contains(0, kPage));
  EXPECT_EQ(nullptr, cache->FindWhole(IdOf(other)));
  EXPECT_EQ(std::vector<std::string>{"example.com/app:1"},
            cache->Pins().value_or(std::vector<std::string>{}));

  ASSERT_TRUE(cache->Unpin("example.com/app:1").has_value());
  EXPECT_EQ(ErrorCode::kNotFound, cache->Unpin("example.com/app:1").error().code);
  ASSERT_TRUE(cache->Prune(0).has_value());
  EXPECT_EQ(nullptr, cache->FindWhole(IdOf(pinned)));
}

TEST_F(ObjectCacheTest, WhereAPinCannotBeReadNothingIsEvicted) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(16 * kPage, 83);
  ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, content).has_value());
  ASSERT_TRUE(cache->Pin("image", {}).has_value());
  const std::string file = CachePath() + "/pins/" + Digest::Of(AsBytes("image")).Hex();
  ASSERT_TRUE(WriteFileAtomically(file, AsBytes("LFSPIN1\n\xff\xff\xff\xff")).has_value());
  const auto pruned = cache->Prune(0);
  ASSERT_FALSE(pruned.has_value());
  EXPECT_EQ(ErrorCode::kCorrupt, pruned.error().code);
  EXPECT_NE(nullptr, cache->FindWhole(IdOf(content)));
  ASSERT_TRUE(cache->Pin("other", {}).has_value());
  EXPECT_EQ(1U, cache->Statistics()->whole_objects) << "what is there is told all the same";
  EXPECT_EQ(std::vector<std::string>{"other"}, cache->Pins());
}

}  // namespace
}  // namespace layerfs

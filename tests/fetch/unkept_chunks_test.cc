// SPDX-License-Identifier: Apache-2.0
#include "fetch/unkept_chunks.h"

#include <gtest/gtest.h>

#include <memory>

#include "fetch/scheduler.h"
#include "tests/fetch/fake_source.h"

namespace layerfs {
namespace {

constexpr size_t kChunkBytes = 16 * kCachePageBytes;

Digest Name(uint8_t number) { return Digest::Of(Bytes{number}); }

SharedBytes Zeros(size_t size) { return std::make_shared<Bytes>(size); }

TEST(UnkeptChunksTest, HoldsSoManyBytesOfTheLastUsed) {
  UnkeptChunks chunks;
  for (uint8_t i = 0; i < 4; ++i) chunks.Put(Name(i), Zeros(UnkeptChunks::kMostBytes / 4));
  EXPECT_NE(nullptr, chunks.Find(Name(0)));
  chunks.Put(Name(4), Zeros(1));
  EXPECT_EQ(nullptr, chunks.Find(Name(1)));
  for (const uint8_t i : {0, 2, 3, 4}) EXPECT_NE(nullptr, chunks.Find(Name(i))) << int{i};
  chunks.Put(Name(5), Zeros(UnkeptChunks::kMostBytes + 1));
  EXPECT_EQ(nullptr, chunks.Find(Name(5)));
  EXPECT_NE(nullptr, chunks.Find(Name(0)));
  chunks.Clear();
  EXPECT_EQ(nullptr, chunks.Find(Name(0)));
}

TEST(UnkeptChunksTest, HoldsSoManyChunks) {
  UnkeptChunks chunks;
  for (uint8_t i = 0; i <= UnkeptChunks::kMostChunks; ++i) chunks.Put(Name(i), Zeros(1));
  EXPECT_EQ(nullptr, chunks.Find(Name(0)));
  EXPECT_NE(nullptr, chunks.Find(Name(1)));
}

TEST(UnkeptChunksTest, ChunkThatTheCacheRefusesIsFetchedOnceForReadersInARow) {
  const TestBlob blob = TestBlob::OfChunks(2, kChunkBytes);
  const auto source = std::make_shared<FakeSource>(blob.bytes);
  const TemporaryDirectory directory;
  const auto cache = OpenCache(directory / "cache", 1);  // One byte: it takes nothing.
  FakeClock clock;
  Scheduler scheduler({.workers = 1, .memory_bytes = 64 << 20, .clock = &clock});
  ChunkRequest request;
  request.blob = std::make_shared<SourceBlob>(
      SourceBlob{source, Digest::Of(blob.bytes), blob.bytes.size(), "example.com/app:1"});
  request.chunk = blob.chunks[0];
  request.object = OpenObject(*cache, IdOf(blob.contents[0]));
  const auto fetch_from_source = [&](size_t number) {
    Answer answer;
    scheduler.Fetch(request, answer.Done());
    ASSERT_TRUE(source->WaitForRequests(number + 1));
    source->Serve(number);
    EXPECT_EQ(blob.contents[0], answer.WaitBytes());
  };
  fetch_from_source(0);
  EXPECT_FALSE(request.object->whole());
  Answer again;
  EXPECT_EQ(0U, scheduler.Fetch(request, again.Done()));
  EXPECT_EQ(blob.contents[0], again.WaitBytes());
  EXPECT_EQ(1U, source->request_count());
  scheduler.ForgetUnkept();
  fetch_from_source(1);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fetch/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/fetch/scheduler_testing.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;

TEST_F(SchedulerTest, ChunkIsFetchedVerifiedCachedAndHandedOn) {
  Answer answer;
  Fetch(answer, 2);
  ASSERT_TRUE(source_->WaitForRequests(1));
  EXPECT_EQ(blob_.chunks[2].blob_offset, source_->range(0).offset);
  EXPECT_EQ(blob_.chunks[2].stored_size, source_->range(0).size);
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[2], answer.WaitBytes());
  EXPECT_TRUE(object_->Contains(2 * kChunkBytes, kChunkBytes));
  EXPECT_FALSE(object_->Contains(0, 1));
  EXPECT_EQ(1U, scheduler_->Statistics().requests);
  EXPECT_EQ(1U, scheduler_->Statistics().chunks);
}

TEST_F(SchedulerTest, CachedChunkIsAnsweredInsideFetchWithoutARequest) {
  ASSERT_TRUE(object_->Write(0, blob_.contents[0]).has_value());
  Answer answer;
  EXPECT_EQ(0U, Fetch(answer, 0));
  EXPECT_EQ(1, answer.calls());
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
  EXPECT_EQ(0U, source_->request_count());
}

TEST_F(SchedulerTest, ManyWaitersOfOneChunkShareOneRequest) {
  std::vector<Answer> answers(20);
  {
    std::vector<std::jthread> threads;
    for (Answer& answer : answers) {
      threads.emplace_back([this, &answer] { Fetch(answer, 3); });
    }
  }
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Serve(0);
  for (Answer& answer : answers) EXPECT_EQ(blob_.contents[3], answer.WaitBytes());
  EXPECT_EQ(1U, source_->request_count());
}

TEST_F(SchedulerTest, ChunksAreCompletedAsTheyArriveAndNotAtTheEnd) {
  // The first takes the only place of its kind; what queues up behind it is joined.
  std::vector<Answer> answers(4);
  Fetch(answers[3], 7, FetchClass::kFill);
  ASSERT_TRUE(source_->WaitForRequests(1));
  for (size_t i = 0; i < 3; ++i) Fetch(answers[i], i, FetchClass::kFill);
  source_->Serve(0);
  answers[3].WaitBytes();
  ASSERT_TRUE(source_->WaitForRequests(2));
  for (size_t request = 1; request < source_->request_count(); ++request) {
    source_->Send(request, blob_.chunks[0].stored_size);
  }
  EXPECT_EQ(blob_.contents[0], answers[0].WaitBytes());
}

TEST_F(SchedulerTest, WithoutAnObjectTheChunkIsHandedOnOnly) {
  ChunkRequest request = RequestOf(1);
  request.object = nullptr;
  Answer answer;
  scheduler_->Fetch(request, answer.Done());
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[1], answer.WaitBytes());
  EXPECT_FALSE(object_->Contains(kChunkBytes, 1));
}

TEST_F(SchedulerTest, WhatIsMissingAfterACutIsFetchedAgainAndOnlyThat) {
  Answer blocker;
  Fetch(blocker, 7, FetchClass::kFill);
  ASSERT_TRUE(source_->WaitForRequests(1));
  Answer first;
  Fetch(first, 0);
  ASSERT_TRUE(source_->WaitForRequests(2));
  source_->Send(1, blob_.chunks[0].stored_size / 2);
  source_->End(1, Fail(ErrorCode::kNetwork, "connection reset", true));
  ASSERT_TRUE(AdvanceUntilRequests(3));
  const uint64_t half = blob_.chunks[0].stored_size / 2;
  EXPECT_EQ(blob_.chunks[0].blob_offset + half, source_->range(2).offset);
  EXPECT_EQ(blob_.chunks[0].stored_size - half, source_->range(2).size);
  source_->Serve(2);
  EXPECT_EQ(blob_.contents[0], first.WaitBytes());
  EXPECT_EQ(1U, scheduler_->Statistics().retries);
}

TEST_F(SchedulerTest, ChunkOfTwoHalvesThatDoNotFitIsFetchedInWhole) {
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Corrupt(blob_.chunks[0].blob_offset + 1);
  source_->Send(0, 100);
  source_->End(0, Fail(ErrorCode::kNetwork, "connection reset", true));
  ASSERT_TRUE(AdvanceUntilRequests(2));
  source_->Corrupt(blob_.chunks[0].blob_offset + 1);
  source_->Serve(1);
  ASSERT_TRUE(AdvanceUntilRequests(3));
  EXPECT_EQ(blob_.chunks[0].blob_offset, source_->range(2).offset);
  source_->Serve(2);
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
}

TEST_F(SchedulerTest, AShortBodyThatEndsWellIsACutAllTheSame) {
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Send(0, 100);
  source_->End(0);
  ASSERT_TRUE(AdvanceUntilRequests(2));
  source_->Serve(1);
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
}

TEST_F(SchedulerTest, RetryAfterHoldsBackEveryRequestToThatSource) {
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  const TimePoint failed_at = clock_.Now();
  source_->End(0, Fail(ErrorCode::kNetwork, "HTTP 503", true), milliseconds(5000));
  WaitForRetries(1);
  Answer other;
  Fetch(other, 5);
  ASSERT_TRUE(AdvanceUntilRequests(2));
  EXPECT_GE(clock_.Now() - failed_at, milliseconds(5000));
}

TEST_F(SchedulerTest, WhatCannotSucceedLaterFailsAtOnce) {
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->End(0, Fail(ErrorCode::kNotFound, "HTTP 404"));
  const Result<SharedBytes> result = answer.Wait();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(ErrorCode::kNotFound, result.error().code);
  EXPECT_EQ(1U, source_->request_count());
}

TEST_F(SchedulerTest, WrongBytesAreAskedForAgainAndNeverServedOrKept) {
  source_->Corrupt(blob_.chunks[0].blob_offset + blob_.chunks[0].stored_size / 2);
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Serve(0);
  ASSERT_TRUE(AdvanceUntilRequests(2));
  source_->Corrupt(blob_.chunks[0].blob_offset + blob_.chunks[0].stored_size / 2);  // Mends it.
  source_->Serve(1);
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
}

TEST_F(SchedulerTest, BytesThatStayWrongAreADigestMismatch) {
  // Stored chunks, so that only the digest can tell.
  const TestBlob stored = TestBlob::OfChunks(1, kChunkBytes, /*compressed=*/false);
  const auto source = std::make_shared<FakeSource>(stored.bytes);
  source->Corrupt(100);
  ChunkRequest request = RequestOf(0);
  request.blob = std::make_shared<SourceBlob>(
      SourceBlob{source, Digest::Of(stored.bytes), stored.bytes.size(), "example.com/app:1"});
  request.chunk = stored.chunks[0];
  Answer answer;
  scheduler_->Fetch(request, answer.Done());
  size_t served = 0;
  ASSERT_TRUE(AdvanceUntil([&] {
    if (source->request_count() > served) source->Serve(served++);
    return answer.calls() > 0;
  }));
  EXPECT_EQ(ErrorCode::kDigestMismatch, answer.WaitError());
  EXPECT_EQ(3U, served);
  EXPECT_FALSE(object_->Contains(0, kChunkBytes));
}

TEST_F(SchedulerTest, AbandonAnswersAtOnceAndTheCacheStillGetsTheChunk) {
  Answer answer;
  const Scheduler::WaiterId waiter = Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  scheduler_->Abandon(waiter);
  EXPECT_EQ(1, answer.calls());
  EXPECT_EQ(ErrorCode::kCancelled, answer.WaitError());
  scheduler_->Abandon(waiter);
  EXPECT_EQ(1, answer.calls());
  source_->Serve(0);
  Answer again;
  Fetch(again, 0);
  EXPECT_EQ(blob_.contents[0], again.WaitBytes());
  EXPECT_EQ(1U, source_->request_count());
}

TEST_F(SchedulerTest, AbandonedChunkThatIsNotForTheCacheIsCancelledAtTheSource) {
  ChunkRequest request = RequestOf(0);
  request.object = nullptr;
  Answer answer;
  const Scheduler::WaiterId waiter = scheduler_->Fetch(request, answer.Done());
  ASSERT_TRUE(source_->WaitForRequests(1));
  scheduler_->Abandon(waiter);
  EXPECT_TRUE(source_->WaitForCancel(0));
}

TEST_F(SchedulerTest, DestructionCancelsEveryWaiterOnce) {
  std::vector<Answer> answers(8);
  for (size_t i = 0; i < answers.size(); ++i) {
    Fetch(answers[i], i, i % 2 == 0 ? FetchClass::kDemand : FetchClass::kFill);
  }
  ASSERT_TRUE(source_->WaitForRequests(1));
  StopScheduler();
  for (Answer& answer : answers) {
    EXPECT_EQ(ErrorCode::kCancelled, answer.WaitError());
    EXPECT_EQ(1, answer.calls());
  }
}

TEST_F(SchedulerTest, ChunkThatAnotherProcessFetchesIsWaitedForAndNotFetched) {
  const auto elsewhere = OpenCache(directory_ / "cache");
  const auto their_object = OpenObject(*elsewhere, IdOf(content_));
  ASSERT_TRUE(their_object->TryClaim(0, kChunkBytes));
  Answer answer;
  Fetch(answer, 0);
  clock_.Advance(milliseconds(500));
  EXPECT_EQ(0, answer.calls());
  ASSERT_TRUE(their_object->Write(0, blob_.contents[0]).has_value());
  their_object->Unclaim(0, kChunkBytes);
  ASSERT_TRUE(AdvanceUntil([&] { return answer.calls() > 0; }));
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
  EXPECT_EQ(0U, source_->request_count());
}

TEST_F(SchedulerTest, ClaimOfAProcessThatGivesUpIsTakenOver) {
  const auto elsewhere = OpenCache(directory_ / "cache");
  const auto their_object = OpenObject(*elsewhere, IdOf(content_));
  ASSERT_TRUE(their_object->TryClaim(0, kChunkBytes));
  Answer answer;
  Fetch(answer, 0);
  clock_.Advance(milliseconds(100));
  EXPECT_EQ(0U, source_->request_count());
  their_object->Unclaim(0, kChunkBytes);
  ASSERT_TRUE(AdvanceUntilRequests(1));
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
}

TEST_F(SchedulerTest, ClaimOfAProcessThatHangsIsWaitedForOnlySoLong) {
  const auto elsewhere = OpenCache(directory_ / "cache");
  const auto their_object = OpenObject(*elsewhere, IdOf(content_));
  ASSERT_TRUE(their_object->TryClaim(0, kChunkBytes));
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(AdvanceUntilRequests(1));
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
}

TEST_F(SchedulerTest, FetchedChunksLeaveNoClaimBehind) {
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  EXPECT_FALSE(OpenObject(*OpenCache(directory_ / "cache"), IdOf(content_))->TryClaim(0, 1));
  source_->Serve(0);
  answer.WaitBytes();
  EXPECT_TRUE(OpenObject(*OpenCache(directory_ / "cache"), IdOf(content_))->TryClaim(0, 1));
}

TEST_F(SchedulerTest, ChunkIsDeliveredWhereTheCacheDoesNotTakeIt) {
  const auto read_only =
      ObjectCache::Open({.directory = directory_ / "cache", .limit_bytes = 0, .read_only = true});
  ASSERT_TRUE(read_only.has_value());
  object_ = OpenObject(**read_only, IdOf(content_));
  Answer answer;
  Fetch(answer, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[0], answer.WaitBytes());
}

TEST_F(SchedulerTest, ChunksThatCannotBeAreRefusedWithoutARequest) {
  struct Row {
    const char* name;
    std::function<void(ChunkRef&)> spoil;
  };
  for (const Row& row : {Row{"past the blob", [](ChunkRef& c) { c.blob_offset = 1 << 30; }},
                         Row{"offset overflows", [](ChunkRef& c) { c.blob_offset = ~0ULL; }},
                         Row{"bomb", [](ChunkRef& c) { c.size = kMaxIndexBytes + 1; }},
                         Row{"nothing stored", [](ChunkRef& c) { c.stored_size = 0; }},
                         Row{"empty", [](ChunkRef& c) { c.size = 0; }}}) {
    ChunkRequest request = RequestOf(0);
    request.object = nullptr;
    row.spoil(request.chunk);
    Answer answer;
    scheduler_->Fetch(request, answer.Done());
    EXPECT_EQ(ErrorCode::kCorrupt, answer.WaitError()) << row.name;
  }
  EXPECT_EQ(0U, source_->request_count());
}

TEST_F(SchedulerTest, ChunkThatAnotherCachedFileHoldsIsNotFetched) {
  Answer first;
  Fetch(first, 2);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Serve(0);
  first.WaitBytes();
  // The next version of the file, with the chunk at another place.
  const auto updated = OpenObject(*cache_, IdOf(PatternBytes(9 * kChunkBytes, 5)));
  ChunkRequest request = RequestOf(2);
  request.object = updated;
  request.object_offset = 3 * kChunkBytes;
  Answer second;
  scheduler_->Fetch(request, second.Done());
  EXPECT_EQ(blob_.contents[2], second.WaitBytes());
  EXPECT_TRUE(updated->Contains(3 * kChunkBytes, kChunkBytes));
  EXPECT_EQ(1U, source_->request_count());
  EXPECT_EQ(1U, scheduler_->Statistics().reused_chunks);
}

TEST_F(SchedulerTest, WrongHintLeadsToTheNetwork) {
  ASSERT_TRUE(object_->Write(0, blob_.contents[0]).has_value());
  object_->NoteChunk(blob_.chunks[1].digest, 0, kChunkBytes);
  Answer answer;
  Fetch(answer, 1);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[1], answer.WaitBytes());
}

TEST_F(SchedulerTest, DamagedCacheHealsItself) {
  for (size_t i = 0; i < blob_.chunks.size(); ++i) {
    ASSERT_TRUE(object_->Write(i * kChunkBytes, blob_.contents[i]).has_value());
  }
  ASSERT_TRUE(object_->whole());
  // The file on disk loses its end, as a bad disk would: reading it fails.
  ASSERT_EQ(0, ::truncate(("/proc/self/fd/" + std::to_string(object_->fd())).c_str(), 4096));
  Answer answer;
  Fetch(answer, 5);
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[5], answer.WaitBytes());
  EXPECT_TRUE(object_->Contains(5 * kChunkBytes, kChunkBytes));
  EXPECT_EQ(blob_.contents[5], ReadRange(*object_, 5 * kChunkBytes, kChunkBytes));
}

// Of two chunks, and more than is hashed at once.
class LargeObjectTest : public SchedulerTest {
 protected:
  static constexpr size_t kHalf = kFinishAtOnceBytes / 2 + kCachePageBytes;
  LargeObjectTest() : SchedulerTest(TestBlob::OfChunks(2, kHalf)) {}
};

TEST_F(LargeObjectTest, BecomesWholeBehindTheAnswerToItsLastChunk) {
  std::vector<Scheduler::Wanted> all;
  std::vector<Answer> answers(2);
  for (size_t i = 0; i < 2; ++i) {
    all.push_back({RequestOf(i), answers[i].Done()});
    all.back().request.object_offset = i * kHalf;
  }
  scheduler_->FetchTogether(std::move(all));
  ASSERT_TRUE(source_->WaitForRequests(2));
  for (size_t i = 0; i < 2; ++i) source_->Serve(i);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(answers[i].WaitBytes(), blob_.contents[i]);
  const auto end = std::chrono::steady_clock::now() + kTestPatience;
  while (!object_->whole() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_TRUE(object_->whole());
}

TEST_F(SchedulerTest, FetchAndWaitReturnsTheChunk) {
  std::jthread server([this] {
    if (source_->WaitForRequests(1)) source_->Serve(0);
  });
  const Result<SharedBytes> content = scheduler_->FetchAndWait(RequestOf(6));
  ASSERT_TRUE(content.has_value()) << content.error().context;
  EXPECT_EQ(blob_.contents[6], **content);
}

}  // namespace
}  // namespace layerfs

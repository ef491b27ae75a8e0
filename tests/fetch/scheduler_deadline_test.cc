// SPDX-License-Identifier: Apache-2.0
// What becomes of a read whose chunk does not come in time, and what it is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fetch/scheduler_testing.h"

namespace layerfs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

class SchedulerDeadlineTest : public SchedulerTest {
 protected:
  // What a read of the chunk is told that has had no time left.
  std::string ErrorAfter(Duration timeout, Answer& answer) {
    EXPECT_TRUE(AdvanceUntil([&] { return answer.calls() > 0; }));
    EXPECT_EQ(ErrorCode::kTimeout, answer.WaitError());
    const std::string told = answer.Wait().error().context;
    const auto ms = std::chrono::duration_cast<milliseconds>(timeout);
    EXPECT_THAT(told, HasSubstr("gave up after " + std::to_string(ms.count()) + " ms"));
    return told;
  }
  ChunkRequest RequestWithin(Duration timeout, size_t chunk) {
    ChunkRequest request = RequestOf(chunk);
    request.timeout = std::chrono::duration_cast<milliseconds>(timeout);
    return request;
  }
};

TEST_F(SchedulerDeadlineTest, TheDeadlineEndsRetriesWithAnErrorThatNamesEverything) {
  Answer answer;
  scheduler_->Fetch(RequestWithin(seconds(10), 4), answer.Done());
  const TimePoint began = clock_.Now();
  size_t failed = 0;
  while (answer.calls() == 0) {
    if (source_->request_count() > failed) {
      source_->End(failed++, Fail(ErrorCode::kNetwork, "connection refused", true));
      WaitForRetries(failed);
    }
    clock_.Advance(milliseconds(20));
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  EXPECT_GE(clock_.Now() - began, seconds(10));
  const Result<SharedBytes> result = answer.Wait();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(ErrorCode::kTimeout, result.error().code);
  const std::string range = std::to_string(blob_.chunks[4].blob_offset) + "+" +
                            std::to_string(blob_.chunks[4].stored_size);
  for (const std::string& part :
       {std::string("example.com/app:1"), std::string("file /bin/app"),
        source_blob_->digest.ToString(), range, std::string("connection refused")}) {
    EXPECT_THAT(result.error().context, HasSubstr(part));
  }
  EXPECT_GE(failed, 3U);
  EXPECT_LE(failed, 60U) << "the time between attempts grows";
}

TEST_F(SchedulerDeadlineTest, AWaiterWithAShortDeadlineLeavesTheOthersWaiting) {
  Answer patient;
  Fetch(patient, 0);
  ASSERT_TRUE(source_->WaitForRequests(1));
  Answer hasty;
  scheduler_->Fetch(RequestWithin(milliseconds(100), 0), hasty.Done());
  clock_.Advance(milliseconds(200));
  EXPECT_EQ(ErrorCode::kTimeout, hasty.WaitError());
  EXPECT_EQ(0, patient.calls());
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[0], patient.WaitBytes());
}

TEST_F(SchedulerDeadlineTest, SilenceIsToldFromABodyThatIsTooSlow) {
  Answer silent;
  scheduler_->Fetch(RequestWithin(seconds(5), 1), silent.Done());
  ASSERT_TRUE(source_->WaitForRequests(1));
  EXPECT_THAT(ErrorAfter(seconds(5), silent), HasSubstr("fake.example.com/app has not answered"));

  Answer slow;
  const size_t next = source_->request_count();  // the first one has been hedged
  scheduler_->Fetch(RequestWithin(seconds(5), 6), slow.Done());
  ASSERT_TRUE(AdvanceUntilRequests(next + 1));
  source_->Send(next, 1000);
  EXPECT_THAT(ErrorAfter(seconds(5), slow),
              HasSubstr("fake.example.com/app has sent 1000 of " +
                        std::to_string(source_->range(next).size) + " bytes"));
}

TEST_F(SchedulerDeadlineTest, WhatIsArrivingAndSoonHereIsWaitedFor) {
  Answer answer;
  scheduler_->Fetch(RequestWithin(seconds(5), 6), answer.Done());
  ASSERT_TRUE(source_->WaitForRequests(1));
  const uint64_t size = source_->range(0).size;
  // Seven seconds' worth at an even rate.
  for (int tenth = 1; tenth < 70; ++tenth) {
    clock_.Advance(milliseconds(100));
    source_->Send(0, size / 70);
    std::this_thread::sleep_for(milliseconds(1));
    ASSERT_EQ(0, answer.calls()) << "after " << tenth << " tenths of a second";
  }
  source_->Serve(0);
  EXPECT_EQ(blob_.contents[6], answer.WaitBytes());
}

TEST_F(SchedulerDeadlineTest, WhatStopsArrivingIsGivenUp) {
  Answer answer;
  scheduler_->Fetch(RequestWithin(seconds(5), 6), answer.Done());
  ASSERT_TRUE(source_->WaitForRequests(1));
  source_->Send(0, source_->range(0).size - 1000);
  EXPECT_THAT(ErrorAfter(seconds(5), answer), HasSubstr(" bytes"));
}

// That another object's copy had been evicted is no reason why nothing came.
TEST_F(SchedulerDeadlineTest, WhatTheCacheHadNotIsNotToldAsTheCause) {
  ASSERT_TRUE(object_->Write(0, blob_.contents[0]).has_value());
  object_->NoteChunk(blob_.chunks[1].digest, 0, kChunkBytes);
  Answer answer;
  scheduler_->Fetch(RequestWithin(seconds(5), 1), answer.Done());
  ASSERT_TRUE(source_->WaitForRequests(1));
  const std::string told = ErrorAfter(seconds(5), answer);
  EXPECT_THAT(told, HasSubstr("has not answered"));
  EXPECT_THAT(told, Not(HasSubstr("cache object")));
}

}  // namespace
}  // namespace layerfs

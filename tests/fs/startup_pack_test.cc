// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_pack.h"

#include <gtest/gtest.h>

#include "tests/fetch/fake_source.h"
#include "tests/fetch/temp_dir.h"

namespace layerfs {
namespace {

constexpr InodeNumber kFile{5};
constexpr InodeNumber kOther{9};
constexpr uint64_t kPage = kPackPageBytes;

// Two files: pages 2 and 3 of kFile, page 0 of kOther, page 7 of kFile; a piece for each two pages,
// of a mebibyte stored.
class StartupPackTest : public testing::Test {
 protected:
  StartupPackTest() {
    head_.page_count = 4;
    head_.run_count = 3;
    head_.bare_run_count = 1;
    head_.pages_digest = Digest::Of(Pages(0, 4));
    head_.parts = {{PackPartKind::kTree, 10, 10, {}},
                   {PackPartKind::kRuns, 10, 48, {}},
                   {PackPartKind::kPages, 1U << 20, 2 * kPage, {}},
                   {PackPartKind::kPages, 1U << 20, 2 * kPage, {}}};
    ObjectCache::Options options;
    options.directory = directory_.path() + "/cache";
    cache_ = std::move(*ObjectCache::Open(options));
    object_ = std::move(*cache_->OpenObject({head_.pages_digest, 4 * kPage, {}}));
    pack_.emplace(
        head_, std::vector<PackRun>{{kFile, 2, 2}, {kOther, 0, 1}, {kFile, 7, 1}, {kOther, 3, 9}},
        object_, false, clock_);
  }

  static Bytes Pages(uint8_t first, size_t count) {
    Bytes bytes;
    for (size_t i = 0; i < count; ++i)
      bytes.insert(bytes.end(), kPage, static_cast<uint8_t>(first + i));
    return bytes;
  }
  StartupPack::Wait Ask(uint64_t page, std::vector<int>& answers) {
    return pack_->WhenThere(page * kPage, kPage,
                            [&answers](bool there) { answers.push_back(there ? 1 : 0); });
  }

  TempDir directory_;
  FakeClock clock_;
  PackHead head_;
  std::shared_ptr<ObjectCache> cache_;
  std::shared_ptr<CachedObject> object_;
  std::optional<StartupPack> pack_;
};

TEST_F(StartupPackTest, AReadIsCutIntoWhatThePackHasAndWhatNot) {
  using Part = StartupPack::Part;
  EXPECT_EQ(pack_->Find(kFile, kPage, 8 * kPage),
            (std::vector<Part>{{kPage, kPage, std::nullopt},
                               {2 * kPage, 2 * kPage, 0},
                               {4 * kPage, 3 * kPage, std::nullopt},
                               {7 * kPage, kPage, 3 * kPage},
                               {8 * kPage, kPage, std::nullopt}}));
  EXPECT_EQ(pack_->Find(kFile, 3 * kPage + 100, 50),
            (std::vector<Part>{{3 * kPage + 100, 50, kPage + 100}}));
}

TEST_F(StartupPackTest, ItSaysWhetherItHasAllOfARange) {
  EXPECT_TRUE(pack_->HasAll(kFile, 2 * kPage + 7, 2 * kPage - 7));
  EXPECT_FALSE(pack_->HasAll(kFile, 3 * kPage, 2 * kPage));
  EXPECT_FALSE(pack_->HasAll(kOther, 3 * kPage, kPage));
}

TEST_F(StartupPackTest, RunsWithoutPagesAreNotInThePack) {
  EXPECT_FALSE(pack_->Find(kOther, 3 * kPage, kPage)[0].position.has_value());
  EXPECT_TRUE(pack_->Has(kOther));
  EXPECT_FALSE(pack_->Has(InodeNumber{6}));
}

TEST_F(StartupPackTest, AWaiterIsCalledOnceItsPagesAreThere) {
  std::vector<int> first;
  std::vector<int> last;
  EXPECT_EQ(Ask(0, first), StartupPack::Wait::kWaiting);
  EXPECT_EQ(Ask(3, last), StartupPack::Wait::kWaiting);
  ASSERT_TRUE(pack_->Append(Pages(0, 2)).has_value());
  EXPECT_EQ(first, std::vector<int>{1});
  EXPECT_TRUE(last.empty());
  EXPECT_EQ(Ask(1, first), StartupPack::Wait::kReady);
  ASSERT_TRUE(pack_->Append(Pages(2, 2)).has_value());
  EXPECT_EQ(last, std::vector<int>{1});
  EXPECT_TRUE(pack_->through());
  Bytes read(kPage);
  ASSERT_TRUE(pack_->Read(3 * kPage, read).has_value());
  EXPECT_EQ(read, Pages(3, 1));
}

TEST_F(StartupPackTest, WhoWaitsWhenNoMoreComesIsToldSo) {
  std::vector<int> answers;
  ASSERT_TRUE(pack_->Append(Pages(0, 2)).has_value());
  EXPECT_EQ(Ask(2, answers), StartupPack::Wait::kWaiting);
  pack_->End();
  EXPECT_EQ(answers, std::vector<int>{0});
  EXPECT_EQ(Ask(2, answers), StartupPack::Wait::kLate);
  EXPECT_EQ(Ask(1, answers), StartupPack::Wait::kReady);
}

TEST_F(StartupPackTest, APageThatComesLaterThanAFetchOfItsOwnIsLate) {
  // A round trip of 10 ms, 1 MiB/s: the second piece is about a second away.
  pack_->NoteDownload(head_.EncodedSize() + 20, std::chrono::milliseconds(10));
  clock_.Advance(std::chrono::seconds(1));
  pack_->NoteDownload(head_.EncodedSize() + 20 + (1U << 20), std::chrono::milliseconds(10));
  std::vector<int> answers;
  EXPECT_EQ(Ask(0, answers), StartupPack::Wait::kWaiting);
  EXPECT_EQ(Ask(2, answers), StartupPack::Wait::kLate);
}

TEST_F(StartupPackTest, OverALongRoundTripTheSamePageIsWaitedFor) {
  pack_->NoteDownload(head_.EncodedSize() + 20, std::chrono::milliseconds(300));
  clock_.Advance(std::chrono::seconds(1));
  pack_->NoteDownload(head_.EncodedSize() + 20 + (1U << 20), std::chrono::milliseconds(300));
  std::vector<int> answers;
  EXPECT_EQ(Ask(2, answers), StartupPack::Wait::kWaiting);
  pack_->End();
}

TEST_F(StartupPackTest, WhatIsBeingDecodedIsWaitedForHoweverLongThatTakes) {
  pack_->NoteDownload(head_.EncodedSize() + 20, std::chrono::milliseconds(1));
  clock_.Advance(std::chrono::seconds(1));
  pack_->NoteDownload(head_.BlobSize(), std::chrono::milliseconds(1));
  clock_.Advance(std::chrono::seconds(60));
  std::vector<int> answers;
  EXPECT_EQ(Ask(3, answers), StartupPack::Wait::kWaiting);
  pack_->End();
}

TEST_F(StartupPackTest, AStreamThatHasFallenSilentIsOvertakenAndOneThatPausesIsNot) {
  pack_->NoteDownload(head_.EncodedSize() + 20, std::chrono::milliseconds(10));
  clock_.Advance(std::chrono::milliseconds(50));
  pack_->NoteDownload(head_.EncodedSize() + 20 + (1U << 20), std::chrono::milliseconds(10));
  std::vector<int> answers;
  clock_.Advance(std::chrono::milliseconds(400));
  EXPECT_EQ(Ask(2, answers), StartupPack::Wait::kWaiting);
  clock_.Advance(std::chrono::seconds(2));
  EXPECT_EQ(Ask(3, answers), StartupPack::Wait::kLate);
  EXPECT_EQ(pack_->asked().waited, 1U);
  EXPECT_EQ(pack_->asked().late, 1U);
  pack_->End();
}

TEST_F(StartupPackTest, PagesThatTheDiskDoesNotTakeAreReadAllTheSame) {
  ASSERT_TRUE(pack_->Append(Pages(0, 2)).has_value());
  // The object finds that it is not what it should be; the pieces are all verified.
  EXPECT_FALSE(pack_->Append(Pages(8, 2)).has_value());
  EXPECT_EQ(pack_->available(), 4 * kPage);
  Bytes read(2 * kPage);
  ASSERT_TRUE(pack_->Read(kPage, read).has_value());
  Bytes expected = Pages(1, 1);
  const Bytes last = Pages(8, 1);
  expected.insert(expected.end(), last.begin(), last.end());
  EXPECT_EQ(read, expected);
}

TEST_F(StartupPackTest, BeforeTheFirstBytesNothingIsLate) {
  std::vector<int> answers;
  EXPECT_EQ(Ask(3, answers), StartupPack::Wait::kWaiting);
  pack_->End();
}

TEST_F(StartupPackTest, PagesThatAreNotWhatTheHeadSaysAreNotKept) {
  ASSERT_TRUE(pack_->Append(Pages(0, 2)).has_value());
  EXPECT_FALSE(pack_->Append(Pages(8, 2)).has_value());
  EXPECT_FALSE(object_->whole());
}

TEST_F(StartupPackTest, AWatcherIsToldOfEachAppendAndTheEnd) {
  int told = 0;
  pack_->Watch([&] { ++told; });
  EXPECT_EQ(told, 1);
  ASSERT_TRUE(pack_->Append(Pages(0, 2)).has_value());
  pack_->End();
  EXPECT_EQ(told, 3);
  pack_->Unwatch();
}

}  // namespace
}  // namespace layerfs

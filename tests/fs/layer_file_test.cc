// SPDX-License-Identifier: Apache-2.0
// LayerFile: what is fetched and what is not, order, interrupts, errors, becoming whole.
#include "fs/layer_file.h"

#include <linux/falloc.h>
#include <sys/resource.h>

#include <csignal>

#include "tests/fs/layer_file_fixture.h"

namespace layerfs {
namespace {

constexpr uint64_t kLowerBytes = 8 * kPage + 1000;

class LayerFileTest : public testing::Test {
 protected:
  void SetUp() override {
    t.CopyUp();
    t.Open();
  }
  // What the file has to be after `data` was put at `offset` of `content`.
  static Bytes Patched(Bytes content, uint64_t offset, const Bytes& data) {
    if (content.size() < offset + data.size()) content.resize(offset + data.size());
    std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(offset));
    return content;
  }

  const Bytes original = Pattern(kLowerBytes);
  LayerFileFixture t{original};
};

TEST_F(LayerFileTest, ACopiedUpFileReadsAsTheLowerOne) {
  EXPECT_EQ(t.Content(), original);
  EXPECT_FALSE(t.file->whole());
  EXPECT_EQ(**t.Read(5000, 10)->result, Bytes(original.begin() + 5000, original.begin() + 5010));
  EXPECT_TRUE((*t.Read(kLowerBytes, 10)->result)->empty());
}

TEST_F(LayerFileTest, AWriteInsideAPageFetchesThatPageOnly) {
  const Bytes data = Pattern(100, 9);
  ASSERT_TRUE(t.Write(2 * kPage + 50, data)->ok());
  EXPECT_EQ(t.lower->bytes_read(), kPage);
  EXPECT_EQ(t.Content(), Patched(original, 2 * kPage + 50, data));
}

TEST_F(LayerFileTest, AWriteOverSeveralPagesFetchesTheEdgesOnly) {
  const Bytes data = Pattern(4 * kPage, 9);
  ASSERT_TRUE(t.Write(kPage + 10, data)->ok());
  EXPECT_EQ(t.lower->bytes_read(), 2 * kPage);
  EXPECT_EQ(t.Content(), Patched(original, kPage + 10, data));
}

TEST_F(LayerFileTest, AWriteOfWholePagesFetchesNothing) {
  const Bytes data = Pattern(3 * kPage, 9);
  ASSERT_TRUE(t.Write(kPage, data)->ok());
  // The last page is whole where the file ends in it.
  const Bytes tail = Pattern(1000, 5);
  ASSERT_TRUE(t.Write(8 * kPage, tail)->ok());
  EXPECT_EQ(t.lower->reads(), 0U);
  EXPECT_EQ(t.Content(), Patched(Patched(original, kPage, data), 8 * kPage, tail));
}

TEST_F(LayerFileTest, WithoutAChangeOfItsOldBytesItNeedsNoMap) {
  ASSERT_TRUE(t.Write(0, Pattern(70, 3), true)->ok());
  ASSERT_TRUE(t.Truncate(20 * kPage)->ok());
  t.Open();
  EXPECT_EQ(t.MapCount(), 0U);
  Bytes expected = Patched(original, kLowerBytes, Pattern(70, 3));
  expected.resize(20 * kPage);
  EXPECT_EQ(t.Content(), expected);
}

TEST_F(LayerFileTest, AFileWithoutANameLeavesNoMap) {
  ASSERT_TRUE(t.Write(0, Pattern(kPage, 1))->ok());
  ASSERT_EQ(t.MapCount(), 1U);
  ASSERT_TRUE(t.file->Discard().has_value());
  EXPECT_EQ(t.MapCount(), 0U);
}

TEST_F(LayerFileTest, AppendingFetchesNothing) {
  const Bytes line = Pattern(70, 3);
  ASSERT_TRUE(t.Write(0, line, true)->ok());
  ASSERT_TRUE(t.Write(0, line, true)->ok());
  EXPECT_EQ(t.lower->reads(), 0U);
  EXPECT_EQ(t.Content(), Patched(Patched(original, kLowerBytes, line), kLowerBytes + 70, line));
}

TEST_F(LayerFileTest, AWriteOverTheLowerEndKeepsBothSides) {
  const Bytes data = Pattern(200, 3);
  ASSERT_TRUE(t.Write(kLowerBytes, Pattern(500, 4))->ok());
  ASSERT_TRUE(t.Write(kLowerBytes - 100, data)->ok());
  Bytes expected = Patched(original, kLowerBytes, Pattern(500, 4));
  EXPECT_EQ(t.Content(), Patched(expected, kLowerBytes - 100, data));
}

TEST_F(LayerFileTest, TruncatingFetchesNothingAndForgetsWhatIsCut) {
  ASSERT_TRUE(t.Truncate(2 * kPage + 10)->ok());
  ASSERT_TRUE(t.Truncate(6 * kPage)->ok());
  EXPECT_EQ(t.lower->reads(), 0U);
  Bytes expected = original;
  expected.resize(2 * kPage + 10);
  expected.resize(6 * kPage);
  EXPECT_EQ(t.Content(), expected);
  // What was cut does not come back with a new page either.
  ASSERT_TRUE(t.Write(2 * kPage + 100, Pattern(1, 1))->ok());
  EXPECT_EQ(t.Content(), Patched(expected, 2 * kPage + 100, Pattern(1, 1)));
}

TEST_F(LayerFileTest, TruncatingToNothingMakesAPlainFile) {
  ASSERT_TRUE(t.Truncate(0)->ok());
  EXPECT_TRUE(t.file->whole());
  EXPECT_TRUE(t.file->plain());
  EXPECT_FALSE(t.HasXattr());
  EXPECT_EQ(t.MapCount(), 0U);
}

TEST_F(LayerFileTest, PunchingFetchesTheEdgesOnly) {
  ASSERT_TRUE(t.Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kPage + 5, 3 * kPage)->ok());
  EXPECT_EQ(t.lower->bytes_read(), 2 * kPage);
  EXPECT_EQ(t.Content(), Patched(original, kPage + 5, Bytes(3 * kPage, 0)));
}

TEST_F(LayerFileTest, ZeroRangeMayMakeTheFileLonger) {
  ASSERT_TRUE(t.Allocate(FALLOC_FL_ZERO_RANGE, 7 * kPage + 1, 4 * kPage)->ok());
  EXPECT_EQ(t.Content(), Patched(original, 7 * kPage + 1, Bytes(4 * kPage, 0)));
}

TEST_F(LayerFileTest, AllocatingChangesNoByte) {
  ASSERT_TRUE(t.Allocate(0, 0, 10 * kPage)->ok());
  ASSERT_TRUE(t.Allocate(FALLOC_FL_KEEP_SIZE, 0, 20 * kPage)->ok());
  EXPECT_EQ(t.lower->reads(), 0U);
  Bytes expected = original;
  expected.resize(10 * kPage);
  EXPECT_EQ(t.Content(), expected);
}

TEST_F(LayerFileTest, CollapsingMakesTheFileWholeFirst) {
  ASSERT_TRUE(t.Allocate(FALLOC_FL_COLLAPSE_RANGE, kPage, 2 * kPage)->ok());
  Bytes expected = original;
  expected.erase(expected.begin() + kPage, expected.begin() + 3 * kPage);
  EXPECT_EQ(t.Content(), expected);
  t.Open();
  EXPECT_EQ(t.Content(), expected);
}

TEST_F(LayerFileTest, ModesThatTheDiskRefusesAreRefused) {
  const auto answer = t.Allocate(FALLOC_FL_UNSHARE_RANGE, 0, kPage);
  ASSERT_TRUE(answer->done());
  EXPECT_EQ(answer->result->error().system_errno, EOPNOTSUPP);
}

TEST_F(LayerFileTest, ALaterWriteWinsOverOneThatWaits) {
  t.lower->Hold(true);
  const auto first = t.Write(10, Pattern(100, 1));
  EXPECT_FALSE(first->done());
  const auto second = t.Write(0, Pattern(kPage, 2));
  t.lower->Hold(false);
  t.lower->ReleaseAll();
  ASSERT_TRUE(first->ok() && second->ok());
  EXPECT_EQ(t.Content(), Patched(original, 0, Pattern(kPage, 2)));
  EXPECT_EQ(t.lower->reads(), 1 + 1U);  // the first write's page, and Content
}

TEST_F(LayerFileTest, WritersOfOnePageFetchItOnce) {
  t.lower->Hold(true);
  const auto first = t.Write(10, Pattern(100, 1));
  const auto second = t.Write(50, Pattern(100, 2));
  const auto third = t.Write(3000, Pattern(100, 3));
  EXPECT_EQ(t.lower->held(), 1U);
  t.lower->ReleaseAll();
  ASSERT_TRUE(first->ok() && second->ok() && third->ok());
  EXPECT_EQ(t.lower->reads(), 1U);
  t.lower->Hold(false);
  Bytes expected = Patched(Patched(original, 10, Pattern(100, 1)), 50, Pattern(100, 2));
  EXPECT_EQ(t.Content(), Patched(expected, 3000, Pattern(100, 3)));
}

TEST_F(LayerFileTest, WritersOfOtherPagesDoNotWait) {
  t.lower->Hold(true);
  const auto waits = t.Write(10, Pattern(100, 1));
  const auto goes = t.Write(2 * kPage, Pattern(kPage, 2));
  EXPECT_TRUE(goes->ok());
  EXPECT_FALSE(waits->done());
  t.lower->ReleaseAll();
  EXPECT_TRUE(waits->ok());
}

TEST_F(LayerFileTest, AReadThatWaitsTakesWhatWasWrittenMeanwhile) {
  t.lower->Hold(true);
  const auto read = t.Read(0, 3 * kPage);
  ASSERT_TRUE(t.Write(kPage, Pattern(kPage, 2))->ok());
  const auto later = t.Read(kPage, kPage);
  ASSERT_TRUE(later->ok());  // all of it is there
  EXPECT_EQ(**later->result, Pattern(kPage, 2));
  t.lower->ReleaseAll();
  ASSERT_TRUE(read->ok());
  Bytes expected = Patched(original, kPage, Pattern(kPage, 2));
  expected.resize(3 * kPage);
  EXPECT_EQ(**read->result, expected);
}

TEST_F(LayerFileTest, AReadOverATruncateShowsNothingThatWasCut) {
  t.lower->Hold(true);
  const auto read = t.Read(0, 4 * kPage);
  ASSERT_TRUE(t.Truncate(kPage + 1)->ok());
  t.lower->ReleaseAll();
  ASSERT_TRUE(read->ok());
  EXPECT_EQ(**read->result, Bytes(original.begin(), original.begin() + kPage + 1));
}

TEST_F(LayerFileTest, AFetchThatFailsFailsThatCallOnly) {
  t.lower->Hold(true);
  const auto fails = t.Write(10, Pattern(100, 1));
  const auto behind = t.Write(20, Pattern(100, 2));
  t.lower->FailRead(ErrorCode::kNetwork);
  ASSERT_TRUE(fails->done());
  EXPECT_EQ(fails->code(), ErrorCode::kNetwork);
  EXPECT_FALSE(behind->done());
  t.lower->Hold(false);
  t.lower->ReleaseAll();
  ASSERT_TRUE(behind->ok());
  EXPECT_EQ(t.Content(), Patched(original, 20, Pattern(100, 2)));
}

TEST_F(LayerFileTest, AnInterruptedWriteChangesNothing) {
  t.lower->Hold(true);
  const auto token = t.interrupts.Announce();
  const auto fetching = t.Write(10, Pattern(100, 1), false, token);
  const auto queued_token = t.interrupts.Announce();
  const auto queued = t.Write(20, Pattern(100, 2), false, queued_token);
  const auto last = t.Write(30, Pattern(100, 3));
  t.interrupts.Interrupt(queued_token);
  ASSERT_TRUE(queued->done());
  EXPECT_EQ(queued->code(), ErrorCode::kCancelled);
  t.interrupts.Interrupt(token);
  ASSERT_TRUE(fetching->done());
  EXPECT_EQ(fetching->code(), ErrorCode::kCancelled);
  t.lower->Hold(false);
  t.lower->ReleaseAll();
  ASSERT_TRUE(last->ok());
  EXPECT_EQ(t.Content(), Patched(original, 30, Pattern(100, 3)));
}

TEST_F(LayerFileTest, AnInterruptThatComesFirstIsNotLost) {
  t.lower->Hold(true);
  for (const bool reads : {true, false}) {
    const auto token = t.interrupts.Announce();
    t.interrupts.Interrupt(token);
    if (reads) {
      EXPECT_EQ(t.Read(0, 10, token)->code(), ErrorCode::kCancelled);
    } else {
      EXPECT_EQ(t.Write(1, Pattern(10), false, token)->code(), ErrorCode::kCancelled);
    }
  }
}

TEST_F(LayerFileTest, TheEndOfTheSessionAnswersAllThatWait) {
  t.lower->Hold(true);
  const auto write = t.Write(1, Pattern(10), false, t.interrupts.Announce());
  const auto behind = t.Truncate(3, t.interrupts.Announce());
  const auto read = t.Read(kPage, 10, t.interrupts.Announce());
  const auto fill = t.MakeWhole(t.interrupts.Announce());
  t.interrupts.InterruptAll();
  EXPECT_TRUE(write->done() && behind->done() && read->done() && fill->done());
}

TEST_F(LayerFileTest, AFileOfWhichEveryPageWasWrittenIsPlain) {
  ASSERT_TRUE(t.Write(0, Pattern(8 * kPage, 2))->ok());
  EXPECT_FALSE(t.file->whole());
  ASSERT_TRUE(t.Write(8 * kPage, Pattern(1000, 2))->ok());
  EXPECT_TRUE(t.file->plain());
  EXPECT_FALSE(t.HasXattr());
  EXPECT_EQ(t.MapCount(), 0U);
  EXPECT_EQ(t.lower->reads(), 0U);
}

TEST_F(LayerFileTest, MadeWholeItKeepsItsTimeOfModification) {
  ASSERT_TRUE(t.Write(3 * kPage + 1, Pattern(10, 2))->ok());
  struct stat before{};
  ASSERT_EQ(fstat(t.file->fd(), &before), 0);
  ASSERT_TRUE(t.MakeWhole()->ok());
  EXPECT_TRUE(t.file->whole());
  EXPECT_FALSE(t.file->plain());  // until it is synced
  struct stat after{};
  ASSERT_EQ(fstat(t.file->fd(), &after), 0);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  ASSERT_TRUE(t.file->Seal().has_value());
  EXPECT_TRUE(t.file->plain());
  EXPECT_EQ(t.MapCount(), 0U);
  EXPECT_EQ(t.Content(), Patched(original, 3 * kPage + 1, Pattern(10, 2)));
  t.Open();
  EXPECT_TRUE(t.file->plain());
}

TEST_F(LayerFileTest, AFullPageWriteDoesNotWaitForTheFill) {
  t.lower->Hold(true);
  const auto fill = t.MakeWhole();
  ASSERT_TRUE(t.Write(kPage, Pattern(kPage, 2))->ok());
  t.lower->ReleaseAll();
  ASSERT_TRUE(fill->ok());
  EXPECT_EQ(t.Content(), Patched(original, kPage, Pattern(kPage, 2)));
}

TEST_F(LayerFileTest, ReopenedItIsTheSame) {
  ASSERT_TRUE(t.Write(kPage + 7, Pattern(kPage, 2))->ok());
  ASSERT_TRUE(t.Write(0, Pattern(10, 3), true)->ok());
  const Bytes before = t.Content();
  t.Open();
  EXPECT_EQ(t.Content(), before);
}

TEST_F(LayerFileTest, AKillBetweenCutAndMapIsTakenIn) {
  t.file.reset();
  ASSERT_EQ(truncate(t.upper_path().c_str(), kPage + 5), 0);
  t.Open();
  ASSERT_TRUE(t.Truncate(3 * kPage)->ok());
  Bytes expected(original.begin(), original.begin() + kPage + 5);
  expected.resize(3 * kPage);
  EXPECT_EQ(t.Content(), expected);
}

TEST_F(LayerFileTest, SeekFindsTheDataOfBothFiles) {
  ASSERT_TRUE(t.Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * kPage, kPage)->ok());
  ASSERT_TRUE(t.Truncate(20 * kPage)->ok());
  ASSERT_TRUE(t.Write(15 * kPage, Pattern(kPage))->ok());
  EXPECT_EQ(t.file->Seek(0, SEEK_DATA), 0U);
  EXPECT_EQ(t.file->Seek(0, SEEK_HOLE), 2 * kPage);
  EXPECT_EQ(t.file->Seek(2 * kPage, SEEK_DATA), 3 * kPage);
  EXPECT_EQ(t.file->Seek(3 * kPage + 1, SEEK_DATA), 3 * kPage + 1);
  EXPECT_EQ(t.file->Seek(10 * kPage, SEEK_DATA), 15 * kPage);
  EXPECT_EQ(t.file->Seek(15 * kPage, SEEK_HOLE), 16 * kPage);
  EXPECT_EQ(t.file->Seek(16 * kPage, SEEK_DATA).error().system_errno, ENXIO);
  EXPECT_EQ(t.file->Seek(20 * kPage, SEEK_HOLE).error().system_errno, ENXIO);
}

TEST_F(LayerFileTest, BlocksCountWhatIsStillBelow) { EXPECT_EQ(t.file->Blocks(), 9 * kPage / 512); }

TEST_F(LayerFileTest, CopyingBetweenPartialFilesCopiesWhatTheyShow) {
  LayerFileFixture from(Pattern(4 * kPage, 50));
  from.CopyUp();
  from.Open();
  ASSERT_TRUE(from.Write(100, Pattern(50, 60))->ok());
  const Bytes source = from.Content();
  auto answer = std::make_shared<Answered<size_t>>();
  t.file->CopyFrom(0, from.file, 50, kPage + 30, 5000, LayerFileFixture::Counting(answer));
  ASSERT_TRUE(answer->ok());
  EXPECT_EQ(**answer->result, 5000U);
  EXPECT_EQ(t.Content(),
            Patched(original, kPage + 30, Bytes(source.begin() + 50, source.begin() + 5050)));
  // From the lower file, past its end: what there is.
  answer = std::make_shared<Answered<size_t>>();
  t.file->CopyFrom(0, std::static_pointer_cast<LowerFile>(from.lower), 4 * kPage - 10, 0, 100,
                   LayerFileFixture::Counting(answer));
  ASSERT_TRUE(answer->ok());
  EXPECT_EQ(**answer->result, 10U);
}

TEST_F(LayerFileTest, AFullDiskIsPassedOnAndChangesNothing) {
  // The limit on a file's size stands for a full disk: the write stops in its middle.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit limit = before;
  limit.rlim_cur = 5 * kPage + 100;
  setrlimit(RLIMIT_FSIZE, &limit);
  const auto short_write = t.Write(4 * kPage, Pattern(2 * kPage, 2));
  const auto no_write = t.Write(5 * kPage + 50, Pattern(100, 3));
  setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_TRUE(short_write->ok());
  EXPECT_EQ(**short_write->result, kPage);
  ASSERT_TRUE(no_write->done());
  ASSERT_FALSE(no_write->ok());
  EXPECT_EQ(no_write->result->error().system_errno, EFBIG);
  EXPECT_EQ(t.Content(), Patched(original, 4 * kPage, Pattern(kPage, 2)));
}

TEST_F(LayerFileTest, MapsWithoutAFileAreRemovedAfterACrash) {
  ASSERT_TRUE(t.Write(0, Pattern(kPage, 1))->ok());
  const Bytes content = t.Content();
  t.file.reset();
  std::filesystem::create_directories(t.directory + "/up/a/b");
  std::filesystem::rename(t.upper_path(), t.directory + "/up/a/b/file");
  auto other = OpenFile(t.directory + "/gone", O_RDWR | O_CREAT);
  ASSERT_EQ(ftruncate(other->get(), kLowerBytes), 0);
  ASSERT_TRUE(t.Maps()->Attach(other->get(), t.identity()).has_value());
  ASSERT_TRUE((*t.Maps()->Load(other->get(), t.identity()))->SetPresent(0, 1).has_value());
  ASSERT_EQ(t.MapCount(), 2U);
  auto up = OpenFile(t.directory + "/up", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(t.Maps()->RemoveOrphans(up->get()).has_value());
  EXPECT_EQ(t.MapCount(), 1U);
  std::filesystem::rename(t.directory + "/up/a/b/file", t.upper_path());
  t.Open();
  EXPECT_EQ(t.Content(), content);
}

struct Damage {
  const char* name;
  off_t offset;
  std::string bytes;
  off_t size = -1;  // cut or extended to
};

class DamagedMapTest : public testing::TestWithParam<Damage> {};

TEST_P(DamagedMapTest, IsRefused) {
  LayerFileFixture t(Pattern(kLowerBytes));
  t.CopyUp();
  t.WriteOnePage();
  const std::string map = std::filesystem::directory_iterator(t.directory + "/partial")->path();
  const auto file = OpenFile(map, O_RDWR);
  const Damage& damage = GetParam();
  ASSERT_TRUE(WriteFullAt(file->get(), static_cast<uint64_t>(damage.offset), AsBytes(damage.bytes))
                  .has_value());
  if (damage.size >= 0) {
    ASSERT_EQ(ftruncate(file->get(), damage.size), 0);
  }
  const Status opened = t.TryOpen();
  ASSERT_FALSE(opened.has_value());
  EXPECT_TRUE(opened.error().code == ErrorCode::kCorrupt ||
              opened.error().code == ErrorCode::kUnsupported)
      << opened.error().context;
}

INSTANTIATE_TEST_SUITE_P(Each, DamagedMapTest,
                         testing::Values(Damage{"magic", 0, "X"}, Damage{"version", 8, "\x09"},
                                         Damage{"page_size", 13, "\x20"},
                                         Damage{"inode", 16, "\x08"},
                                         Damage{"lower_size", 24, "\x01"},
                                         Damage{"checksum", 32, "\x01\x02"},
                                         Damage{"base_size", 45, "\x01"}, Damage{"empty", 0, "", 0},
                                         Damage{"short", 0, "", 4096}, Damage{"long", 0, "", 8192}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(PartialMapTest, AMissingMapIsAnErrorAndNoWholeFile) {
  LayerFileFixture t(Pattern(kLowerBytes));
  t.CopyUp();
  t.WriteOnePage();
  std::filesystem::remove_all(t.directory + "/partial");
  std::filesystem::create_directory(t.directory + "/partial");
  const Status opened = t.TryOpen();
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
}

TEST(PartialMapTest, AnXattrThatNamesAPathIsRefused) {
  LayerFileFixture t(Pattern(kLowerBytes));
  t.CopyUp();
  ASSERT_EQ(setxattr(t.upper_path().c_str(), "user.layerfs.partial", "1:../../etc/passwd", 18, 0),
            0);
  const Status opened = t.TryOpen();
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
}

TEST(PartialMapTest, OfAnotherLowerFileIsRefused) {
  LayerFileFixture t(Pattern(kLowerBytes));
  t.CopyUp();
  t.WriteOnePage();
  t.lower = std::make_shared<FakeLowerFile>(Pattern(kLowerBytes + 1));
  EXPECT_FALSE(t.TryOpen().has_value());
}

TEST(PartialMapTest, RunsAndCountsAgree) {
  LayerFileFixture t(Pattern(1));
  auto upper = OpenFile(t.upper_path(), O_RDWR | O_CREAT);
  constexpr uint64_t kPages = 1000;
  ASSERT_EQ(ftruncate(upper->get(), kPages * kPage), 0);
  ASSERT_TRUE(t.Maps()->Attach(upper->get(), {1, kPages * kPage}).has_value());
  const auto map = *t.Maps()->Load(upper->get(), {1, kPages * kPage});
  std::vector<bool> model(kPages, false);
  uint64_t random = 12345;
  for (int round = 0; round < 200; ++round) {
    random = random * 6364136223846793005 + 1442695040888963407;
    const uint64_t first = (random >> 33) % kPages;
    const uint64_t end = std::min(kPages, first + (random >> 20) % (round % 5 == 0 ? 150 : 4));
    ASSERT_TRUE(map->SetPresent(first, end).has_value());
    for (uint64_t page = first; page < end; ++page) model[page] = true;
    ASSERT_EQ(map->absent_pages(), static_cast<uint64_t>(std::ranges::count(model, false)));
    for (uint64_t page = 0; page < kPages;) {
      const PartialMap::Run run = map->RunAt(page, kPages);
      ASSERT_EQ(run.first_page, page);
      ASSERT_GT(run.end_page, page);
      for (uint64_t p = page; p < run.end_page; ++p) ASSERT_EQ(model[p], run.present);
      if (run.end_page < kPages) {
        ASSERT_NE(model[run.end_page], run.present);
      }
      page = run.end_page;
    }
  }
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// LayerFile and a process that dies at any step: every page is as before or after the operation,
// and what was synced is there.
#include <linux/falloc.h>
#include <sys/wait.h>

#include <functional>

#include "fs/fail_point.h"
#include "tests/fs/layer_file_fixture.h"

namespace layerfs {
namespace {

constexpr uint64_t kLowerBytes = 6 * kPage + 500;

struct Operation {
  const char* name;
  std::function<void(LayerFileFixture&)> before;  // completed and synced; what must be there
  std::function<void(LayerFileFixture&)> run;
};

void Nothing(LayerFileFixture& /*t*/) {}
void SomePages(LayerFileFixture& t) {
  (void)t.Write(kPage + 100, Pattern(kPage, 77));
  (void)t.Write(0, Pattern(90, 78), true);
}

const Operation kOperations[] = {
    {"write_inside_a_page", Nothing, [](auto& t) { (void)t.Write(50, Pattern(100, 9)); }},
    {"write_over_pages", SomePages, [](auto& t) { (void)t.Write(50, Pattern(4 * kPage, 9)); }},
    {"append", SomePages, [](auto& t) { (void)t.Write(0, Pattern(100, 9), true); }},
    {"write_over_the_lower_end", Nothing,
     [](auto& t) { (void)t.Write(kLowerBytes - 50, Pattern(kPage, 9)); }},
    {"truncate", SomePages, [](auto& t) { (void)t.Truncate(2 * kPage + 10); }},
    {"truncate_to_nothing", SomePages, [](auto& t) { (void)t.Truncate(0); }},
    {"grow", SomePages, [](auto& t) { (void)t.Truncate(9 * kPage); }},
    {"punch", SomePages,
     [](auto& t) { (void)t.Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 4 * kPage); }},
    {"zero_range", Nothing,
     [](auto& t) { (void)t.Allocate(FALLOC_FL_ZERO_RANGE, 3 * kPage + 1, 8 * kPage); }},
    {"write_all", Nothing, [](auto& t) { (void)t.Write(0, Pattern(kLowerBytes, 9)); }},
    {"make_whole_and_seal", SomePages,
     [](auto& t) {
       (void)t.MakeWhole();
       (void)t.file->Seal();
     }},
    {"sync", SomePages, [](auto& t) { (void)t.file->Sync(true); }},
    {"collapse", SomePages, [](auto& t) { (void)t.Allocate(FALLOC_FL_COLLAPSE_RANGE, 0, kPage); }},
};

class LayerFileCrashTest : public testing::TestWithParam<Operation> {
 protected:
  static Bytes PageOfContent(const Bytes& content, uint64_t page) {
    const uint64_t begin = std::min<uint64_t>(page * kPage, content.size());
    const uint64_t end = std::min<uint64_t>(begin + kPage, content.size());
    Bytes bytes(content.begin() + static_cast<std::ptrdiff_t>(begin),
                content.begin() + static_cast<std::ptrdiff_t>(end));
    bytes.resize(kPage);  // behind the end: zeros
    return bytes;
  }

  // Runs the operation in a process that dies at its n-th step. True when it died.
  static bool RunAndDie(LayerFileFixture& t, const Operation& operation, int step) {
    const pid_t child = fork();
    if (child == 0) {
      t.Open();
      ArmFailPoints("*:" + std::to_string(step));
      operation.run(t);
      _exit(0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "the process crashed";
    EXPECT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kFailPointExit);
    return WEXITSTATUS(status) == kFailPointExit;
  }

  static void Prepare(LayerFileFixture& t, const Operation& operation) {
    t.CopyUp();
    t.Open();
    operation.before(t);
    ASSERT_TRUE(t.file->Sync(false).has_value());
  }
};

TEST_P(LayerFileCrashTest, EveryPageIsAsBeforeOrAfter) {
  if (!kHasFailPoints) GTEST_SKIP() << "built without fail points";
  const Operation& operation = GetParam();
  LayerFileFixture whole(Pattern(kLowerBytes));
  Prepare(whole, operation);
  const Bytes before = whole.Content();
  operation.run(whole);
  const Bytes after = whole.Content();
  constexpr int kMaxSteps = 200;
  int died = 0;
  for (int step = 1; step < kMaxSteps; ++step) {
    LayerFileFixture t(Pattern(kLowerBytes));
    Prepare(t, operation);
    t.file.reset();
    if (!RunAndDie(t, operation, step)) break;
    ++died;
    t.Open();
    const Bytes content = t.Content();
    EXPECT_TRUE(content.size() == before.size() || content.size() == after.size());
    const uint64_t pages = std::max(before.size(), after.size()) / kPage + 1;
    for (uint64_t page = 0; page < pages; ++page) {
      const Bytes found = PageOfContent(content, page);
      EXPECT_TRUE(found == PageOfContent(before, page) || found == PageOfContent(after, page))
          << "page " << page << " after a death at step " << step;
    }
    // It goes on from there, and ends where it would have.
    const std::string name = operation.name;
    if (content.size() == before.size() && name != "append" && name != "collapse") {
      operation.run(t);
      EXPECT_EQ(t.Content(), after) << "again after a death at step " << step;
    }
  }
  EXPECT_GT(died, 0);
  EXPECT_LT(died, kMaxSteps - 1);
}

INSTANTIATE_TEST_SUITE_P(Each, LayerFileCrashTest, testing::ValuesIn(kOperations),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(LayerFileMapCrashTest, AMapThatNoFileNamesIsRemoved) {
  if (!kHasFailPoints) GTEST_SKIP() << "built without fail points";
  for (int step = 1;; ++step) {
    LayerFileFixture t(Pattern(kLowerBytes));
    std::filesystem::create_directory(t.directory + "/up");
    const pid_t child = fork();
    if (child == 0) {
      ArmFailPoints("*:" + std::to_string(step));
      t.CopyUp();
      t.WriteOnePage();
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WEXITSTATUS(status) == 0) {
      EXPECT_GT(step, 1);
      return;
    }
    // The file under construction is removed at mount; then its map is nobody's.
    const auto up = OpenFile(t.directory + "/up", O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(t.Maps()->RemoveOrphans(up->get()).has_value());
    EXPECT_EQ(t.MapCount(), 0U);
  }
}

TEST(FailPointTest, CountsItsHits) {
  if (!kHasFailPoints) GTEST_SKIP() << "built without fail points";
  const pid_t child = fork();
  if (child == 0) {
    ArmFailPoints("here:2");
    FailPoint("elsewhere");
    FailPoint("here");
    FailPoint("elsewhere");
    FailPoint("here");
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), kFailPointExit);
}

}  // namespace
}  // namespace layerfs

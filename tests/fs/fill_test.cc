// SPDX-License-Identifier: Apache-2.0
// Filling the cache with a converted image of two layers. Needs root, as the image does.
#include "fs/fill.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "fetch/image_record.h"
#include "fs/file_reader.h"
#include "fs/fill_order.h"
#include "fs/image_objects.h"
#include "tests/fs/test_image.h"

namespace layerfs {
namespace {

class FillTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    auto made = TestImage::Make();
    ASSERT_TRUE(made.has_value()) << made.error().context;
    image_files_.emplace(std::move(*made));
    OpenCache(0);
  }

  void OpenCache(uint64_t limit_bytes) {
    image_.reset();
    context_.reset();
    auto cache = ObjectCache::Open(
        {.directory = image_files_->directory() + "/cache", .limit_bytes = limit_bytes});
    ASSERT_TRUE(cache.has_value()) << cache.error().context;
    context_.emplace(ImageContext{stores_, scheduler_, *cache});
    auto image = Image::Load(ImageReference::Parse(image_files_->reference()).value(), *context_,
                             ImageOptions{});
    ASSERT_TRUE(image.has_value()) << image.error().context;
    image_ = *image;
  }

  FillProgress RunFill(Fill::Options options = {}) {
    Fill fill(image_, *context_, nullptr, options);
    fill.Start();
    return fill.Wait();
  }
  uint64_t requests() const { return scheduler_.Statistics().requests; }
  ImagePresence Presence() const {
    return PresenceOf(ReadImageRecord(*context_->cache, image_->manifest_digest()).value(),
                      context_->cache->WholeObjects().value());
  }

  std::optional<TestImage> image_files_;
  ImageStores stores_{StoreOptions{}};
  Scheduler scheduler_{Scheduler::Options{}};
  std::optional<ImageContext> context_;
  std::shared_ptr<Image> image_;
};

TEST_F(FillTest, FilledImageIsReadWithoutARequest) {
  const FillProgress progress = RunFill();
  ASSERT_EQ(progress.state, FillState::kComplete)
      << (progress.error ? progress.error->context : "");
  EXPECT_TRUE(Presence().complete);
  const uint64_t before = requests();
  FileReader reader(image_, *context_, {});
  const Index& tree = image_->tree();
  for (uint32_t number = 1; number <= tree.inode_count(); ++number) {
    const Inode inode = tree.Get(InodeNumber{number});
    for (uint64_t offset = 0; inode.is_regular() && offset < inode.size; offset += 1U << 20) {
      ASSERT_TRUE(reader.ReadAndWait(InodeNumber{number}, offset, 1U << 20).has_value()) << number;
    }
  }
  EXPECT_EQ(requests(), before);
}

TEST_F(FillTest, SecondFillFetchesNothing) {
  ASSERT_EQ(RunFill().state, FillState::kComplete);
  const uint64_t before = requests();
  OpenCache(0);
  EXPECT_EQ(RunFill().state, FillState::kComplete);
  EXPECT_EQ(requests(), before);
}

TEST_F(FillTest, FillBringsBackWhatWasEvicted) {
  ASSERT_EQ(RunFill().state, FillState::kComplete);
  OpenCache(0);
  ASSERT_TRUE(context_->cache->Prune(0).has_value());
  EXPECT_FALSE(Presence().complete);
  EXPECT_EQ(RunFill().state, FillState::kComplete);
  EXPECT_TRUE(Presence().complete);
}

TEST_F(FillTest, CacheThatIsTooSmallEndsItWithAReason) {
  OpenCache(4096);
  const FillProgress progress = RunFill();
  EXPECT_EQ(progress.state, FillState::kIncomplete);
  ASSERT_TRUE(progress.error.has_value());
  EXPECT_EQ(progress.error->code, ErrorCode::kNoSpace);
}

TEST_F(FillTest, StoppedFillEndsAndSaysSo) {
  Fill::Options slow;
  slow.bytes_per_second = 1;
  Fill fill(image_, *context_, nullptr, slow);
  fill.Start();
  fill.Stop();
  EXPECT_EQ(fill.progress().state, FillState::kIncomplete);
}

TEST_F(FillTest, ListedObjectsAreThoseOfTheRecord) {
  const auto listed = ListImageObjects(image_, *context_, std::chrono::seconds(60));
  ASSERT_TRUE(listed.has_value()) << listed.error().context;
  ASSERT_EQ(RunFill().state, FillState::kComplete);
  auto recorded = ReadImageRecord(*context_->cache, image_->manifest_digest()).value().objects;
  ASSERT_FALSE(recorded.empty());
  EXPECT_EQ(listed->size(), recorded.size());
  for (const ObjectId& id : *listed) {
    EXPECT_NE(std::find(recorded.begin(), recorded.end(), id), recorded.end());
  }
}

TEST_F(FillTest, FileInUseComesFirstThenItsNeighboursThenTheRest) {
  const Index& tree = image_->tree();
  InodePaths paths(tree);
  std::vector<InodeNumber> files;
  for (uint32_t number = 1; number <= tree.inode_count(); ++number) {
    const Inode inode = tree.Get(InodeNumber{number});
    if (inode.is_regular() && inode.size > 0) files.push_back(InodeNumber{number});
  }
  ASSERT_GT(files.size(), 3U);
  const InodeNumber used = ResolvePath(tree, "dir/big", false).value();
  FillOrder order(tree, files, &paths);
  order.Prefer(used);
  EXPECT_EQ(order.Next(), used);
  std::vector<InodeNumber> rest;
  for (InodeNumber file = order.Next(); file != kNoInode; file = order.Next()) rest.push_back(file);
  EXPECT_EQ(rest.size() + 1, files.size());
  const auto is_neighbour = [&](InodeNumber file) {
    return paths.DirectoryOf(file) == paths.DirectoryOf(used);
  };
  EXPECT_TRUE(std::is_partitioned(rest.begin(), rest.end(), is_neighbour));
}

}  // namespace
}  // namespace layerfs

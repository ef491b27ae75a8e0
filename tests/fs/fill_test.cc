// SPDX-License-Identifier: Apache-2.0
// Filling the cache with a converted image of two layers. Needs root, as the image does.
#include "fs/fill.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>

#include "fetch/image_record.h"
#include "fs/file_reader.h"
#include "fs/fill_count.h"
#include "fs/fill_order.h"
#include "fs/image_objects.h"
#include "tests/fs/test_image.h"

namespace layerfs {
namespace {

class FillTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    auto made = TestImage::Make(More());
    ASSERT_TRUE(made.has_value()) << made.error().context;
    image_files_.emplace(std::move(*made));
    OpenCache(0);
  }

  // What the image has beside what all test images have.
  virtual std::string More() const { return ""; }

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
  uint64_t Counted() {
    ObjectCache& cache = *context_->cache;
    ImageChunks chunks(
        image_, [&](const ChunkRequest& request) { return ReadCachedTable(cache, request.chunk); });
    return CountCachedBytes(chunks, cache, [] { return false; });
  }
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
    const InodeNumber file{number};
    const Inode inode = tree.Get(file);
    if (!inode.is_regular()) continue;
    // Holes are no requests in any case, and one has gigabytes.
    for (const DataExtent& extent : tree.DataExtents(file, 0, inode.size)) {
      for (uint64_t done = 0; done < extent.size; done += 1U << 20) {
        ASSERT_TRUE(reader.ReadAndWait(file, extent.file_offset + done, 1U << 20).has_value())
            << number;
      }
    }
  }
  EXPECT_EQ(requests(), before);
}

TEST_F(FillTest, ChunkThatManySmallFilesShareCountsOnce) {
  uint64_t stored = 0;
  for (const Descriptor& layer : image_->manifest().layers) stored += layer.size;
  const FillProgress progress = RunFill();
  ASSERT_EQ(progress.state, FillState::kComplete);
  EXPECT_LE(progress.fetched_bytes, stored);
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
  EXPECT_NE(progress.error->context.find("more than the cache's limit of 4096"), std::string::npos)
      << progress.error->context;
  EXPECT_EQ(progress.failed_chunks, 0U) << "it went on with the next file";
}

// A cache at its limit: `other` stands for the images of before, last used long ago.
class FullCacheTest : public FillTest {
 protected:
  static constexpr uint64_t kOtherBytes = 1 << 20;
  static constexpr int kOthers = 32;

  void SetUp() override {
    FillTest::SetUp();
    if (IsSkipped()) return;
    image_bytes_ = Listed();
    FillWithOthers();
    Age();
    OpenCache(Used());
  }

  uint64_t Listed() {
    uint64_t bytes = 0;
    const auto own = ListImageObjects(image_, *context_, kPatience);
    EXPECT_TRUE(own.has_value());
    for (const ObjectId& id : own.value_or(std::vector<ObjectId>())) {
      bytes += AlignUp(id.size, kCachePageBytes);
    }
    return bytes;
  }
  void FillWithOthers() {
    for (int i = 0; i < kOthers; ++i) {
      Bytes content(kOtherBytes, static_cast<uint8_t>(i));
      others_.push_back({Digest::Of(content), content.size(), {}});
      const auto object = context_->cache->OpenObject(others_.back()).value();
      ASSERT_TRUE(object->WriteWhole(content).has_value());
    }
  }
  // All that is there was last used in the year 2001.
  void Age() {
    ASSERT_TRUE(RunShell("find " + image_files_->directory() +
                         "/cache/objects -type f -exec touch -d 2001-01-01 {} +")
                    .has_value());
  }
  uint64_t Used() const { return context_->cache->Statistics().value().bytes; }
  int OthersThere() const {
    const auto whole = context_->cache->WholeObjects();
    if (!whole.has_value()) return -1;
    return static_cast<int>(std::count_if(others_.begin(), others_.end(), [&](const ObjectId& id) {
      return whole->contains(id.digest);
    }));
  }

  static constexpr std::chrono::seconds kPatience{60};
  uint64_t image_bytes_ = 0;
  std::vector<ObjectId> others_;
};

TEST_F(FullCacheTest, WhatWasUsedBeforeMakesRoom) {
  ASSERT_LT(image_bytes_, kOthers * kOtherBytes);
  const FillProgress progress = RunFill();
  EXPECT_EQ(progress.state, FillState::kComplete)
      << (progress.error ? progress.error->context : "");
  EXPECT_TRUE(Presence().complete);
  EXPECT_LT(OthersThere(), kOthers);
  EXPECT_GT(OthersThere(), 0) << "more went than had to";
  // While one thread evicts, others may go a tenth beyond the limit.
  EXPECT_LE(Used(), context_->cache->limit_bytes() * 11 / 10);
}

TEST_F(FullCacheTest, WhatTheImageSharesWithThoseOfBeforeStays) {
  OpenCache(0);
  ASSERT_EQ(RunFill().state, FillState::kComplete);
  const auto own = ListImageObjects(image_, *context_, kPatience).value();
  const ObjectId largest = *std::max_element(
      own.begin(), own.end(), [](const auto& a, const auto& b) { return a.size < b.size; });
  ASSERT_TRUE(RunShell("rm " + image_files_->directory() + "/cache/objects/" +
                       largest.digest.Hex().substr(0, 2) + "/" + largest.digest.Hex())
                  .has_value());
  // What there is of the image was used longer ago than the others.
  Age();
  ASSERT_TRUE(RunShell("find " + image_files_->directory() +
                       "/cache/objects -size 2048 -exec touch -d 2002-01-01 {} +")
                  .has_value());
  OpenCache(Used());
  const FillProgress progress = RunFill();
  EXPECT_EQ(progress.state, FillState::kComplete)
      << (progress.error ? progress.error->context : "");
  EXPECT_TRUE(Presence().complete);
  EXPECT_LT(OthersThere(), kOthers);
}

TEST_F(FullCacheTest, WhatIsOpenOrPinnedStays) {
  std::vector<std::shared_ptr<CachedObject>> open;
  for (int i = 0; i < kOthers / 2; ++i) {
    open.push_back(context_->cache->OpenObject(others_[i]).value());
  }
  ASSERT_TRUE(context_->cache->Pin("kept", std::span(others_).subspan(kOthers / 2, kOthers / 2))
                  .has_value());
  const FillProgress progress = RunFill();
  EXPECT_EQ(progress.state, FillState::kIncomplete);
  ASSERT_TRUE(progress.error.has_value());
  EXPECT_NE(progress.error->context.find("in use or pinned"), std::string::npos)
      << progress.error->context;
  EXPECT_EQ(OthersThere(), kOthers);
}

TEST_F(FullCacheTest, ImageThatCanNeverFitEvictsNothing) {
  OpenCache(image_bytes_ - 1);
  const FillProgress progress = RunFill();
  EXPECT_EQ(progress.state, FillState::kIncomplete);
  ASSERT_TRUE(progress.error.has_value());
  EXPECT_NE(progress.error->context.find("more than the cache's limit"), std::string::npos)
      << progress.error->context;
  EXPECT_EQ(OthersThere(), kOthers);
}

// The cache on a disk of its own that is soon full; no limit is set.
class FullDiskTest : public FullCacheTest {
 protected:
  // What nobody waits for leaves some of it free.
  static constexpr uint64_t kSpareBytes = 4 << 20;

  std::string More() const override {
    return "mkdir more; for i in $(seq 16); do head -c 1000000 /dev/urandom > more/$i; done";
  }
  void TearDown() override {
    image_.reset();
    context_.reset();
    if (image_files_.has_value()) {
      ::umount2((image_files_->directory() + "/cache").c_str(), MNT_DETACH);
    }
  }
  // False where mounting is not for us.
  bool OpenCacheOnDiskOf(uint64_t bytes) {
    image_.reset();
    context_.reset();
    const std::string options = "mode=0700,size=" + std::to_string(bytes);
    const std::string cache = image_files_->directory() + "/cache";
    if (::mount("cache", cache.c_str(), "tmpfs", 0, options.c_str()) != 0) return false;
    OpenCache(0);
    return true;
  }
};

TEST_F(FullDiskTest, EndsItWithAReasonAndEvictsNothingOfItsOwn) {
  if (!OpenCacheOnDiskOf(image_bytes_ / 2 + kSpareBytes)) GTEST_SKIP() << "needs root, to mount";
  const uint64_t before = Counted();
  const FillProgress progress = RunFill();
  EXPECT_EQ(progress.state, FillState::kIncomplete);
  ASSERT_TRUE(progress.error.has_value());
  EXPECT_NE(progress.error->context.find("that the cache's disk has for them"), std::string::npos)
      << progress.error->context;
  EXPECT_EQ(progress.done_bytes, Counted());
  EXPECT_EQ(progress.done_bytes, before + progress.fetched_bytes) << "some has gone again";
  EXPECT_GT(progress.fetched_bytes, 0U);
  // The next one knows.
  const FillProgress again = RunFill();
  EXPECT_EQ(again.fetched_bytes, 0U);
  EXPECT_EQ(again.done_bytes, progress.done_bytes);
  // Who waits for data evicts what is not open, as ever, and not all of it.
  OpenCache(0);
  const uint64_t used = Used();
  for (uint8_t i = 0; i < 6; ++i) {
    const Bytes content(kOtherBytes, i);
    const auto object =
        context_->cache->OpenObject({Digest::Of(content), content.size(), {}}).value();
    EXPECT_TRUE(object->WriteWhole(content).has_value()) << int{i};
  }
  EXPECT_LT(Counted(), progress.done_bytes);
  EXPECT_GT(Used(), used);
}

TEST_F(FullDiskTest, WhatWasUsedBeforeMakesRoom) {
  const uint64_t others = kOthers * kOtherBytes;
  if (!OpenCacheOnDiskOf(std::max(image_bytes_, others) + 2 * kSpareBytes)) {
    GTEST_SKIP() << "needs root, to mount";
  }
  others_.clear();
  FillWithOthers();
  Age();
  const FillProgress progress = RunFill();
  EXPECT_EQ(progress.state, FillState::kComplete)
      << (progress.error ? progress.error->context : "");
  EXPECT_TRUE(Presence().complete);
  EXPECT_LT(OthersThere(), kOthers);
}

TEST_F(FillTest, CountFollowsWhatHasGoneAgain) {
  ASSERT_EQ(RunFill().state, FillState::kComplete);
  const uint64_t all = Counted();
  EXPECT_GT(all, 0U);
  OpenCache(0);
  ASSERT_TRUE(context_->cache->Prune(context_->cache->Statistics().value().bytes / 2).has_value());
  EXPECT_LT(Counted(), all);
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

// SPDX-License-Identifier: Apache-2.0
// Packs that are sound, and packs that are whole but say something else than the layers. Needs
// root, as the images do.
#include "tools/startup_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "fs/file_reader.h"
#include "fs/startup_pack.h"
#include "tests/fs/test_image.h"
#include "tools/chunk_tables.h"
#include "tools/startup/add_startup.h"

namespace layerfs {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr uint32_t kPages = 40;
constexpr uint32_t kPagesOfPieces = 300;  // more than one piece of the stream has

class StartupCheckTest : public testing::Test {
 protected:
  // An image with a file of that many pages and a bit, every line of which is `word` and a number.
  struct Sample {
    explicit Sample(const std::string& word, uint32_t pages = kPages)
        : files(TestImage::Make("seq -f '" + word + " %.0f' 999999 | head -c " +
                                std::to_string(pages * kPackPageBytes + 9) + " >file")
                    .value()),
          context{stores, scheduler,
                  ObjectCache::Open({.directory = files.directory() + "/cache"}).value()},
          image(Load(false)),
          reader(image, context, FileReader::Options{}) {}
    std::shared_ptr<Image> Load(bool startup) {
      ImageOptions options;
      options.startup = startup;
      return Image::Load(reference(), context, options).value();
    }
    ImageReference reference() const { return ImageReference::Parse(files.reference()).value(); }

    TestImage files;
    ImageStores stores{StoreOptions{}};
    Scheduler scheduler{Scheduler::Options{}};
    ImageContext context;
    std::shared_ptr<Image> image;  // without a pack
    FileReader reader;
  };

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    sample_.emplace("one");
  }

  // A pack with the bytes of `pages`.
  BuiltPack Build(FileReader& pages, uint32_t count) {
    const Trace trace{{{"/file", 0, count}}};
    auto built = BuildStartupPack(*sample_->image, pages, sample_->scheduler, {&trace, 1}, {});
    EXPECT_TRUE(built.has_value()) << built.error().context;
    return built.value_or(BuiltPack{});
  }
  // Gives the sample that pack.
  void Publish(const BuiltPack& pack) {
    AddStartupOptions options;
    options.image = sample_->reference();
    const auto published = PublishStartup(*sample_->image, pack, options, sample_->context);
    ASSERT_TRUE(published.has_value()) << published.error().context;
  }
  void AddPack(FileReader& pages) { Publish(Build(pages, kPages + 1)); }

  std::vector<std::string> Findings(bool pages) {
    const std::shared_ptr<Image> image = sample_->Load(true);
    EXPECT_NE(image->startup(), nullptr);
    StartupCheckOptions options;
    options.pages = pages;
    const auto findings = CheckStartup(*image, sample_->image, sample_->context, options);
    EXPECT_TRUE(findings.has_value()) << findings.error().context;
    return findings.value_or(std::vector<std::string>{"none"});
  }

  std::optional<Sample> sample_;
};

TEST_F(StartupCheckTest, SoundPackHasNoFinding) {
  AddPack(sample_->reader);
  EXPECT_THAT(Findings(true), IsEmpty());
}

TEST_F(StartupCheckTest, PagesOfAnotherImageAreFound) {
  Sample other("two");
  AddPack(other.reader);
  EXPECT_THAT(Findings(false), IsEmpty());
  std::vector<std::string> findings = Findings(true);
  ASSERT_EQ(findings.size(), 11U);
  EXPECT_EQ(findings.front(), "page 0 of /file is not what the layer has");
  EXPECT_EQ(findings.back(), "31 more pages are not what the layers have");
}

// The first chunk of /file is not what its digest says; its page behind the file's last whole chunk
// is in another one.
TEST_F(StartupCheckTest, PagesBehindADamagedChunkAreCompared) {
  sample_.emplace("one", kPagesOfPieces);
  Sample other("two", kPagesOfPieces);
  Publish(Build(other.reader, kPagesOfPieces + 1));
  const auto inode = ResolvePath(sample_->image->tree(), "/file", false).value();
  const DataExtent first = sample_->image->tree().DataExtents(inode, 0, 1).front();
  const LayerNumber layer = sample_->image->tree().Get(inode).layer;
  const auto table =
      LoadSegment(*sample_->image, sample_->scheduler, *sample_->context.cache,
                  sample_->image->tree().FindSegment(layer, first.tar_offset).value());
  ASSERT_TRUE(table.has_value()) << table.error().context;
  const Chunk* damaged = nullptr;
  for (const Chunk& chunk : table->chunks()) {
    if (chunk.tar_offset <= first.tar_offset) damaged = &chunk;
  }
  ASSERT_NE(damaged, nullptr);
  const std::string blob = sample_->files.directory() + "/lazy/blobs/sha256/" +
                           sample_->image->layer_blob(layer)->digest.Hex();
  ASSERT_TRUE(RunShell("printf XXXX | dd conv=notrunc status=none bs=1 seek=" +
                       std::to_string(damaged->ref.blob_offset + damaged->ref.stored_size / 2) +
                       " of=" + blob)
                  .has_value());
  const ImageContext afresh{
      sample_->stores, sample_->scheduler,
      ObjectCache::Open({.directory = sample_->files.directory() + "/afresh"}).value()};
  ImageOptions without;
  without.startup = false;
  const auto packed = Image::Load(sample_->reference(), afresh, {}).value();
  const auto layers = Image::Load(sample_->reference(), afresh, without).value();
  const auto findings = CheckStartup(*packed, layers, afresh, {.pages = true});
  ASSERT_TRUE(findings.has_value()) << findings.error().context;
  EXPECT_THAT(*findings, Contains(HasSubstr("it gives other bytes")));
  EXPECT_THAT(*findings, Contains(HasSubstr("of /file is not what the layer has")));
}

// The head claims for the pages a digest that they do not have, as an image's chunk may have it.
TEST_F(StartupCheckTest, PagesOfALieAreNobodyElses) {
  sample_.emplace("one", kPagesOfPieces);
  BuiltPack pack = Build(sample_->reader, kPagesOfPieces);
  const Digest claimed = Digest::Of(AsBytes("somebody else's chunk"));
  const ByteSpan parts = ByteSpan(pack.blob).subspan(pack.head.EncodedSize());
  pack.head.pages_digest = claimed;
  // The stream ends before all pages could be compared with it.
  const auto last = std::ranges::find(pack.head.parts.rbegin(), pack.head.parts.rend(),
                                      PackPartKind::kPages, &PackPart::kind);
  ASSERT_NE(last, pack.head.parts.rend());
  last->digest = claimed;
  Bytes blob = pack.head.Encode();
  blob.insert(blob.end(), parts.begin(), parts.end());
  pack.blob = std::move(blob);
  Publish(pack);
  const std::shared_ptr<Image> image = sample_->Load(true);
  ASSERT_NE(image->startup(), nullptr);
  while (!image->startup()->outcome().has_value()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_FALSE(image->startup()->outcome()->has_value());
  EXPECT_GT(image->startup()->available(), 0U);
  const uint64_t size = kPagesOfPieces * kPackPageBytes;
  const auto object = sample_->context.cache->OpenObject({claimed, size, {}});
  ASSERT_TRUE(object.has_value()) << object.error().context;
  EXPECT_FALSE((*object)->Contains(0, kPackPageBytes));
}

TEST_F(StartupCheckTest, OneThatIsStoppedIsNotSound) {
  AddPack(sample_->reader);
  const std::atomic<bool> stopped = true;
  const auto findings = CheckStartup(*sample_->Load(true), sample_->image, sample_->context,
                                     {.pages = true, .stopped = &stopped});
  ASSERT_FALSE(findings.has_value());
  EXPECT_EQ(findings.error().code, ErrorCode::kCancelled);
}

TEST_F(StartupCheckTest, TreeOfAnotherImageIsFound) {
  AddPack(sample_->reader);
  Sample other("three");
  const std::shared_ptr<Image> image = sample_->Load(true);
  const auto findings = CheckStartup(*image, other.image, other.context, {.pages = true});
  ASSERT_TRUE(findings.has_value()) << findings.error().context;
  EXPECT_THAT(*findings, ElementsAre(StartsWith("its tree is not what the layers make, from")));
}

}  // namespace
}  // namespace layerfs

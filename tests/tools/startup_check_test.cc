// SPDX-License-Identifier: Apache-2.0
// Packs that are sound, and packs that are whole but say something else than the layers. Needs
// root, as the images do.
#include "tools/startup_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "fs/file_reader.h"
#include "fs/startup_pack.h"
#include "tests/fs/test_image.h"
#include "tools/startup/add_startup.h"

namespace layerfs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

constexpr uint32_t kPages = 40;

class StartupCheckTest : public testing::Test {
 protected:
  // An image with a file of kPages pages and a bit, every line of which is `word`.
  struct Sample {
    explicit Sample(const std::string& word)
        : files(TestImage::Make("yes " + word + " | head -c " +
                                std::to_string(kPages * kPackPageBytes + 9) + " >file")
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

  // Gives the sample a pack with the bytes of `pages`.
  void AddPack(FileReader& pages) {
    const Trace trace{{{"/file", 0, kPages + 1}}};
    const auto built =
        BuildStartupPack(*sample_->image, pages, sample_->scheduler, {&trace, 1}, {});
    ASSERT_TRUE(built.has_value()) << built.error().context;
    AddStartupOptions options;
    options.image = sample_->reference();
    const auto published = PublishStartup(*sample_->image, *built, options, sample_->context);
    ASSERT_TRUE(published.has_value()) << published.error().context;
  }

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

// SPDX-License-Identifier: Apache-2.0
// Conversion into and between repositories of a real registry.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "fetch/reference.h"
#include "tests/fetch/fake_registry.h"
#include "tests/fetch/real_registry.h"
#include "tests/fetch/temp_dir.h"
#include "tests/index/tar_writer.h"
#include "tests/tools/converted_layer.h"
#include "tests/tools/counting_progress.h"
#include "tests/tools/layout_image.h"
#include "tools/convert/convert_image.h"

namespace layerfs {
namespace {

class ConvertRegistryTest : public testing::Test {
 protected:
  ConvertRegistryTest() : source_(directory_ / "source"), stores_(StoreOptions()) {
    const Bytes tar = TarWriter().Directory("d").File("d/f", Pattern(100000)).Finish();
    const Bytes shared = TarWriter().File("shared", Pattern(5000, 2)).Finish();
    image_ = {.layers = {{shared}, {tar}}};
    source_.Tag("latest", source_.AddIndex({source_.AddImage(image_)}));
  }
  void SetUp() override {
    if (!RealRegistry::Available()) GTEST_SKIP() << "needs docker-registry";
    ASSERT_TRUE(registry_.running());
  }

  std::string Layout() const { return "oci:" + (directory_ / "source") + ":latest"; }
  std::string Repository(const std::string& name) const {
    return "docker://" + registry_.authority() + "/" + name + ":1";
  }
  ConvertReport MustConvert(const std::string& source, const std::string& destination) {
    progress_.Reset();
    ConvertOptions options;
    options.source = *ImageReference::Parse(source);
    options.destination = *ImageReference::Parse(destination);
    options.policy = SmallPolicy();
    options.threads = 2;
    options.cache_directory = directory_ / "cache";
    Result<ConvertReport> report = ConvertImage(options, stores_, progress_);
    EXPECT_TRUE(report.has_value()) << report.error().context;
    return report.value_or(ConvertReport());
  }
  // The tars of the image that stands at `reference`, read back from the registry.
  std::vector<Bytes> ReadTars(const std::string& reference) {
    auto reader = *stores_.OpenReader(*ImageReference::Parse(reference));
    const ImageIndex index = *ImageIndex::Parse(reader->ReadRoot()->raw);
    const Manifest manifest = *Manifest::Parse(reader->ReadManifest(index.manifests[0])->raw);
    std::vector<Bytes> tars;
    for (const Descriptor& layer : manifest.layers) {
      Bytes blob;
      const Status status = reader->ReadBlob(layer, [&](ByteSpan bytes) -> Status {
        blob.insert(blob.end(), bytes.begin(), bytes.end());
        return {};
      });
      EXPECT_TRUE(status.has_value());
      tars.push_back(*DecodeWhole(blob));
    }
    return tars;
  }

  TempDir directory_;
  LayoutImage source_;
  LayoutImage::Image image_;
  ImageStores stores_;
  RealRegistry registry_;
  CountingProgress progress_;
};

TEST_F(ConvertRegistryTest, ADestinationThatRefusesUsIsKnownBeforeAnythingIsConverted) {
  FakeRegistry refusing;
  refusing.RequireBasic("somebody", "else");
  progress_.Reset();
  ConvertOptions options;
  options.source = *ImageReference::Parse(Layout());
  options.destination = *ImageReference::Parse("docker://" + refusing.authority() + "/app:1");
  const auto report = ConvertImage(options, stores_, progress_);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::kUnauthorized) << report.error().context;
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 0U);
}

TEST_F(ConvertRegistryTest, TheRegistryHoldsTheConvertedImage) {
  MustConvert(Layout(), Repository("app"));
  EXPECT_EQ(ReadTars(Repository("app")),
            (std::vector<Bytes>{image_.layers[0].tar, image_.layers[1].tar}));
}

TEST_F(ConvertRegistryTest, TheSecondTimeNothingIsMoved) {
  const Digest root = MustConvert(Layout(), Repository("app")).root;
  EXPECT_EQ(MustConvert(Layout(), Repository("app")).root, root);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 0U);
  EXPECT_EQ(progress_.Count(LayerStage::kWriting), 0U);
}

TEST_F(ConvertRegistryTest, ANewTagTakesTheLayersOfTheOthersWithoutAMemo) {
  MustConvert(Layout(), Repository("app"));
  // As many tags as are read, and more, of signatures.
  for (int i = 0; i < 10; ++i) {
    MustConvert(Layout(), "docker://" + registry_.authority() + "/app:sha256-" + std::to_string(i));
  }
  std::filesystem::remove_all(directory_ / "cache");
  const std::string next = "docker://" + registry_.authority() + "/app:2";
  MustConvert(Layout(), next);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 0U);
  EXPECT_EQ(progress_.Count(LayerStage::kWriting), 0U);
  EXPECT_EQ(ReadTars(next).size(), 2U);
}

TEST_F(ConvertRegistryTest, LayersAreMountedFromAnotherRepositoryOfTheRegistry) {
  const Digest root = MustConvert(Layout(), Repository("app")).root;
  // As a converted source, and by the memo.
  for (const std::string& source : {Repository("app"), Layout()}) {
    const std::string to = Repository(source == Layout() ? "by-memo" : "copied");
    EXPECT_EQ(MustConvert(source, to).root, root);
    EXPECT_EQ(progress_.Count(LayerStage::kConverting), 0U) << source;
    EXPECT_EQ(progress_.Count(LayerStage::kWriting), 0U) << source;
    EXPECT_EQ(ReadTars(to).size(), 2U);
  }
}

}  // namespace
}  // namespace layerfs

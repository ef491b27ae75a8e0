// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/convert_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "fetch/raw_document.h"
#include "index/layer_footer.h"
#include "tests/index/tar_writer.h"
#include "tests/tools/convert_fixture.h"
#include "tools/convert/converted_documents.h"

namespace layerfs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(ConvertImageTest, LayersHoldTheSameTarsAndTheConfigTheSameBytes) {
  const LayoutImage::Image image = {.layers = {{SmallTar("a")}, {SmallTar("b", 50000)}}};
  source_.Tag("latest", source_.AddImage(image));
  const ConvertReport report = MustConvert(Options());
  EXPECT_EQ(progress_.layers, 2U);
  EXPECT_TRUE(progress_.AllComplete());

  const Manifest manifest = ReadManifest();
  EXPECT_EQ(manifest.media_type, media_type::kOciManifest);
  EXPECT_EQ(ReadBlob(manifest.config), LayoutImage::Config(image));
  ASSERT_EQ(manifest.layers.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(manifest.layers[i].media_type, media_type::kOciLayerZstd);
    const Bytes blob = ReadBlob(manifest.layers[i]);
    EXPECT_EQ(blob.size(), manifest.layers[i].size);
    EXPECT_EQ(*DecodeWhole(blob), image.layers[i].tar);
    // Annotations and footer lead to the same index.
    const auto index = DecodeIndexAnnotations(manifest.layers[i].annotations, blob.size());
    ASSERT_TRUE(index.has_value() && index->has_value());
    EXPECT_EQ(**index, OpenedLayer::Open(blob).index_ref);
    EXPECT_EQ(report.layers[i].converted, manifest.layers[i].digest);
    EXPECT_EQ(report.layers[i].converted_size, blob.size());
    EXPECT_EQ(report.layers[i].tar_size, image.layers[i].tar.size());
    EXPECT_EQ(report.layers[i].outcome, LayerOutcome::kConverted);
  }
  EXPECT_EQ(report.root, ReadRoot().digest);
}

TEST_F(ConvertImageTest, TheImageIsTheSameOnAnyNumberOfThreads) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")},
                                                     {SmallTar("b", 200000)},
                                                     {SmallTar("c", 90000)},
                                                     {SmallTar("d", 13000)}}}));
  ConvertOptions options = Options();
  options.threads = 1;
  const Digest expected = MustConvert(options).root;
  for (const int threads : {2, 8}) {
    options = Options("out" + std::to_string(threads));
    options.threads = threads;
    EXPECT_EQ(MustConvert(options).root, expected);
  }
}

TEST_F(ConvertImageTest, DockerDocumentsBecomeOciOnes) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a"), media_type::kDockerLayerGzip},
                                                     {SmallTar("b"), media_type::kDockerLayerTar}},
                                          .docker = true}));
  MustConvert(Options());
  const Manifest manifest = ReadManifest();
  EXPECT_EQ(manifest.media_type, media_type::kOciManifest);
  EXPECT_EQ(manifest.config.media_type, media_type::kOciConfig);
  EXPECT_EQ(*DecodeWhole(ReadBlob(manifest.layers[0])), SmallTar("a"));
  EXPECT_EQ(*DecodeWhole(ReadBlob(manifest.layers[1])), SmallTar("b"));
}

TEST_F(ConvertImageTest, AnnotationsStayButThoseOfTheOldBytes) {
  source_.Tag("latest",
              source_.AddImage(
                  {.layers = {{.tar = SmallTar("a"),
                               .annotations = {{"org.example", "kept"},
                                               {"containerd.io/snapshot/stargz/toc.digest", "x"},
                                               {"io.github.containers.zstd-chunked.x", "x"}}}},
                   .annotations = {{"org.opencontainers.image.title", "kept"},
                                   {"com.amazon.soci.index-digest", "x"}}}));
  MustConvert(Options());
  const Manifest manifest = ReadManifest();
  EXPECT_THAT(manifest.annotations,
              ElementsAre(std::pair("org.opencontainers.image.title", "kept")));
  const auto& annotations = manifest.layers[0].annotations;
  EXPECT_EQ(annotations.at("org.example"), "kept");
  EXPECT_EQ(annotations.size(), 5U);
  EXPECT_EQ(annotations.at(kConverterAnnotation), SmallPolicy().Fingerprint());
}

TEST_F(ConvertImageTest, ALayerThatIsListedTwiceIsConvertedOnce) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}, {SmallTar("a")}}}));
  const ConvertReport report = MustConvert(Options());
  EXPECT_EQ(report.layers.size(), 1U);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 1U);
  const Manifest manifest = ReadManifest();
  ASSERT_EQ(manifest.layers.size(), 2U);
  EXPECT_EQ(manifest.layers[0].digest, manifest.layers[1].digest);
}

TEST_F(ConvertImageTest, WhatTheDestinationHasIsNeitherReadNorWrittenAgain) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}, {SmallTar("b")}}}));
  const ConvertReport first = MustConvert(Options());
  // Another image of the same layout shares one layer.
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}, {SmallTar("c")}}}));
  ConvertOptions options = Options();
  options.destination = Destination("out", "second");
  const ConvertReport second = MustConvert(options);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 1U);
  EXPECT_EQ(progress_.Count(LayerStage::kWriting), 1U);
  ASSERT_EQ(second.layers.size(), 2U);
  EXPECT_EQ(second.layers[0].outcome, LayerOutcome::kReused);
  EXPECT_EQ(second.layers[0].converted, first.layers[0].converted);
  EXPECT_EQ(second.layers[1].outcome, LayerOutcome::kConverted);

  const ConvertReport again = MustConvert(options);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 0U);
  EXPECT_EQ(again.root, second.root);

  options.force = true;
  EXPECT_EQ(MustConvert(options).root, second.root);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 2U);
}

TEST_F(ConvertImageTest, OtherOptionsConvertAgain) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  ConvertOptions options = Options();
  options.policy.level = 1;
  EXPECT_EQ(MustConvert(options).layers[0].outcome, LayerOutcome::kConverted);
}

TEST_F(ConvertImageTest, AKnownLayerWhoseBlobIsGoneIsConvertedAgain) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  std::filesystem::remove(OciLayout(directory_ / "out").BlobPath(ReadManifest().layers[0].digest));
  EXPECT_EQ(MustConvert(Options()).layers[0].outcome, LayerOutcome::kConverted);
  EXPECT_EQ(*DecodeWhole(ReadBlob(ReadManifest().layers[0])), SmallTar("a"));
}

TEST_F(ConvertImageTest, ALayerThatClaimsAnotherSourceIsNotReused) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  const Digest wanted = MustConvert(Options()).layers[0].source;
  std::filesystem::remove_all(directory_ / "out");
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("b")}}}));
  MustConvert(Options());
  Manifest forged = ReadManifest();
  forged.layers[0].annotations[kSourceDigestAnnotation] = wanted.ToString();
  auto writer = stores_.OpenWriter(Destination("out"));
  auto document = MakeDocument(forged.Encode(), media_type::kOciManifest, std::nullopt);
  ASSERT_TRUE((*writer)->WriteRoot(*document).has_value());
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  EXPECT_EQ(MustConvert(Options()).layers[0].outcome, LayerOutcome::kConverted);
  EXPECT_EQ(*DecodeWhole(ReadBlob(ReadManifest().layers[0])), SmallTar("a"));
}

TEST_F(ConvertImageTest, TheMemoRemembersLayersThatNoManifestNames) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  ConvertOptions options = Options();
  options.cache_directory = directory_ / "cache";
  MustConvert(options);
  // The same tag names another image now; the blob is still there.
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("b")}}}));
  MustConvert(options);
  std::filesystem::remove(directory_ / "out/index.json");
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  EXPECT_EQ(MustConvert(options).layers[0].outcome, LayerOutcome::kReused);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 0U);

  directory_.Write("cache/converted-layers.json", "{broken");
  std::filesystem::remove(directory_ / "out/index.json");
  EXPECT_EQ(MustConvert(options).layers[0].outcome, LayerOutcome::kConverted);
}

TEST_F(ConvertImageTest, AConvertedSourceIsCopied) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  const ConvertReport first = MustConvert(Options());
  ConvertOptions options = Options("copy");
  options.source = Destination("out");
  const ConvertReport copy = MustConvert(options);
  EXPECT_EQ(copy.layers[0].outcome, LayerOutcome::kCopied);
  EXPECT_EQ(copy.layers[0].tar_size, SmallTar("a").size());
  EXPECT_EQ(copy.root, first.root);
  EXPECT_EQ(ReadBlob(ReadManifest("copy").layers[0], "copy"), ReadBlob(ReadManifest().layers[0]));
}

TEST_F(ConvertImageTest, AConvertedSourceIsConvertedAnewWhereThatIsAskedFor) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  ConvertOptions options = Options("copy");
  options.source = Destination("out");
  options.policy_is_asked_for = true;
  EXPECT_EQ(MustConvert(options).layers[0].outcome, LayerOutcome::kCopied) << "it is as asked for";
  ++options.policy.level;
  EXPECT_EQ(MustConvert(options).layers[0].outcome, LayerOutcome::kConverted);
  options.policy_is_asked_for = false;
  options.force = true;
  EXPECT_EQ(MustConvert(options).layers[0].outcome, LayerOutcome::kConverted);
}

TEST_F(ConvertImageTest, AConvertedSourceWithAnotherDiffIdIsRefused) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  Manifest forged = ReadManifest();
  const LayoutImage out(directory_ / "out");
  forged.config = out.AddBlob(media_type::kOciConfig,
                              LayoutImage::Config({.layers = {{SmallTar("something else")}}}));
  out.Tag("new", out.AddBlob(media_type::kOciManifest, forged.Encode()));
  ConvertOptions options = Options("copy");
  options.source = Destination("out");
  progress_.Reset();
  const auto copy = Convert(options);
  ASSERT_FALSE(copy.has_value());
  EXPECT_EQ(copy.error().code, ErrorCode::kDigestMismatch);
  EXPECT_THAT(copy.error().context, HasSubstr("diff ID"));
  ExpectNothing("copy");
}

TEST_F(ConvertImageTest, AHardLinkIntoALowerLayerIsConverted) {
  source_.Tag("latest",
              source_.AddImage(
                  {.layers = {{SmallTar("a")}, {TarWriter().HardLink("link", "d/a").Finish()}}}));
  MustConvert(Options());
}

TEST_F(ConvertImageTest, AHardLinkToNowhereIsToldAndLeavesNoImage) {
  source_.Tag("latest",
              source_.AddImage(
                  {.layers = {{SmallTar("a")}, {TarWriter().HardLink("link", "d/b").Finish()}}}));
  const auto report = Convert(Options());
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(report.error().context, HasSubstr("link"));
  EXPECT_THAT(report.error().context, HasSubstr("d/b"));
  ExpectNothing("out");
}

// A layer whose link is good above one layer and leads nowhere above another.
class ConvertMovedLinkTest : public ConvertImageTest {
 protected:
  const LayoutImage::Layer link_ = {TarWriter().HardLink("link", "d/a").Finish()};

  void ExpectRefused(const ConvertOptions& options) {
    progress_.Reset();
    const auto report = Convert(options);
    ASSERT_FALSE(report.has_value());
    EXPECT_EQ(report.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(report.error().context, HasSubstr("d/a"));
  }
};

TEST_F(ConvertMovedLinkTest, AReusedLayersLinkToNowhereIsTold) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}, link_}}));
  MustConvert(Options());
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("b")}, link_}}));
  ExpectRefused(Options());
}

TEST_F(ConvertMovedLinkTest, ACopiedLayersLinkToNowhereIsTold) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}, {SmallTar("b")}, link_}}));
  MustConvert(Options());
  const LayoutImage out(directory_ / "out");
  Manifest bad = ReadManifest();
  bad.layers.erase(bad.layers.begin());
  bad.config = out.AddBlob(media_type::kOciConfig,
                           LayoutImage::Config({.layers = {{SmallTar("b")}, link_}}));
  out.Tag("new", out.AddBlob(media_type::kOciManifest, bad.Encode()));
  ConvertOptions options = Options("copy");
  options.source = Destination("out");
  ExpectRefused(options);
  ExpectNothing("copy");
  // Where the destination has the blobs already, they are not read, but the check is made.
  options.destination = Destination("out", "again");
  ExpectRefused(options);
}

// What a layer's annotations say of its index, and is not so.
struct ForgedIndex {
  const char* name;
  void (*forge)(Descriptor& layer, const Descriptor& other);
};

const ForgedIndex kForgedIndexes[] = {
    {"ItsDigest",
     [](Descriptor& layer, const Descriptor&) {
       layer.annotations[kIndexDigestAnnotation] = "sha256:" + std::string(64, '0');
     }},
    {"ItsPosition",
     [](Descriptor& layer, const Descriptor&) {
       std::string& position = layer.annotations[kIndexPositionAnnotation];
       position = "1" + position.substr(position.find(':'));
     }},
    {"AnotherLayers",
     [](Descriptor& layer, const Descriptor& other) { layer.annotations = other.annotations; }},
};

class ConvertForgedIndexTest : public ConvertImageTest,
                               public testing::WithParamInterface<ForgedIndex> {
 protected:
  // An image at "out" whose layer's annotations are forged, of the tar SmallTar("a").
  void Forge() {
    source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
    MustConvert(Options());
    const LayoutImage out(directory_ / "out");
    Manifest manifest = ReadManifest();
    source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("b")}}}));
    MustConvert(Options("other"));
    GetParam().forge(manifest.layers[0], ReadManifest("other").layers[0]);
    manifest.layers[0].annotations[kSourceDigestAnnotation] =
        Digest::Of(Gzipped(SmallTar("a"))).ToString();
    ASSERT_TRUE(IsConvertedLayer(manifest.layers[0]));
    out.Tag("new", out.AddBlob(media_type::kOciManifest, manifest.Encode()));
    source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  }
};

TEST_P(ConvertForgedIndexTest, IsConvertedAnew) {
  Forge();
  const Descriptor forged = ReadManifest().layers[0];
  // As a source, to a place that lacks the blob and to the one that has it.
  for (const char* destination : {"copy", "out"}) {
    ConvertOptions options = Options(destination);
    options.source = Destination("out");
    EXPECT_EQ(MustConvert(options).layers[0].outcome, LayerOutcome::kConverted) << destination;
    const Descriptor layer = ReadManifest(destination).layers[0];
    EXPECT_NE(layer.annotations.at(kIndexDigestAnnotation) +
                  layer.annotations.at(kIndexPositionAnnotation),
              forged.annotations.at(kIndexDigestAnnotation) +
                  forged.annotations.at(kIndexPositionAnnotation));
    EXPECT_EQ(*DecodeWhole(ReadBlob(layer, destination)), SmallTar("a"));
  }
}

TEST_P(ConvertForgedIndexTest, IsNotReused) {
  Forge();
  EXPECT_EQ(MustConvert(Options()).layers[0].outcome, LayerOutcome::kConverted);
}

INSTANTIATE_TEST_SUITE_P(Rows, ConvertForgedIndexTest, testing::ValuesIn(kForgedIndexes),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(ConvertImageTest, AConversionThatFailsLeavesALayoutAsItWas) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  const size_t before = CountBlobs("out");
  source_.Tag("latest",
              source_.AddImage({.layers = {{SmallTar("a")},
                                           {SmallTar("more")},
                                           {TarWriter().HardLink("link", "gone").Finish()}}}));
  ASSERT_FALSE(Convert(Options()).has_value());
  EXPECT_EQ(CountBlobs("out"), before);
  EXPECT_TRUE(IsConvertedLayer(ReadManifest().layers[0]));
}

// A nondistributable layer: the source may hold its bytes, or leave them to another server.
TEST_F(ConvertImageTest, ANondistributableLayerIsConvertedWhereItIsAndElseItsPlaceIsTold) {
  const std::string url = "https://example.com/base.tar.gz";
  const LayoutImage::Layer layer = {
      .tar = SmallTar("a"),
      .media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      .urls = {url}};
  source_.Tag("latest", source_.AddImage({.layers = {layer}}));
  MustConvert(Options());
  EXPECT_TRUE(ReadManifest().layers[0].urls.empty());

  std::filesystem::remove(source_.layout().BlobPath(source_.AddLayer(layer).digest));
  progress_.Reset();
  const auto report = Convert(Options("other"));
  ASSERT_FALSE(report.has_value());
  EXPECT_THAT(report.error().context, HasSubstr(url));
  ExpectNothing("other");
}

TEST_F(ConvertImageTest, TheCompressionThatIsAskedForComesOut) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  EXPECT_EQ(ReadManifest().layers[0].media_type, media_type::kOciLayerZstd);
  ConvertOptions options = Options("gzip");
  options.source = Destination("out");
  options.policy.compression = LayerCompression::kGzip;
  const ConvertReport report = MustConvert(options);
  EXPECT_EQ(report.layers[0].outcome, LayerOutcome::kConverted);
  const Descriptor layer = ReadManifest("gzip").layers[0];
  EXPECT_EQ(layer.media_type, media_type::kOciLayerGzip);
  EXPECT_TRUE(IsConvertedLayer(layer, LayerCompression::kGzip));
  EXPECT_FALSE(IsConvertedLayer(layer, LayerCompression::kZstd));
  const auto tar = DecodeWholeGzip(ReadBlob(layer, "gzip"));
  ASSERT_TRUE(tar.has_value()) << tar.error().context;
  EXPECT_EQ(*tar, SmallTar("a"));
}

class ConvertIndexTest : public ConvertImageTest {
 protected:
  ConvertIndexTest() {
    Descriptor attestation = source_.AddImage({.layers = {{SmallTar("attestation")}}});
    attestation.platform = Platform{"unknown", "unknown", ""};
    attestation.annotations["vnd.docker.reference.type"] = "attestation-manifest";
    source_.Tag(
        "latest",
        source_.AddIndex({source_.AddImage({.layers = {{SmallTar("shared")}, {SmallTar("amd64")}}}),
                          source_.AddImage({.layers = {{SmallTar("shared")}, {SmallTar("arm64")}},
                                            .architecture = "arm64"}),
                          attestation},
                         true));
  }
  ImageIndex ReadIndex() {
    auto index = ImageIndex::Parse(ReadRoot().raw);
    EXPECT_TRUE(index.has_value());
    return index.value_or(ImageIndex());
  }
};

TEST_F(ConvertIndexTest, AllItsImagesAreConvertedAndEmbedded) {
  const ConvertReport report = MustConvert(Options());
  EXPECT_EQ(report.layers.size(), 3U);
  EXPECT_EQ(progress_.Count(LayerStage::kConverting), 3U);
  EXPECT_EQ(report.root_media_type, media_type::kOciIndex);
  EXPECT_THAT(report.platforms,
              ElementsAre(Platform{"linux", "amd64", ""}, Platform{"linux", "arm64", ""}));
  const ImageIndex index = ReadIndex();
  EXPECT_EQ(index.media_type, media_type::kOciIndex);
  ASSERT_EQ(index.manifests.size(), 2U);
  for (const Descriptor& entry : index.manifests) {
    ASSERT_TRUE(entry.data.has_value());
    EXPECT_EQ(*entry.data, ReadBlob(entry));
    const auto manifest = Manifest::Parse(*entry.data);
    ASSERT_TRUE(manifest.has_value());
    for (const Descriptor& layer : manifest->layers) EXPECT_TRUE(IsConvertedLayer(layer));
  }
}

TEST_F(ConvertIndexTest, AttestationsOfTheOldImageAreLeftOutWithANote) {
  const ConvertReport report = MustConvert(Options());
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_THAT(report.notes[0], HasSubstr("attestation"));
}

TEST_F(ConvertIndexTest, AnEntryThatDoesNotSayWhatItsConfigSaysIsNoted) {
  Descriptor entry = source_.AddImage({.layers = {{SmallTar("a")}}, .architecture = "arm64"});
  entry.platform = Platform{"linux", "amd64", ""};
  source_.Tag("latest", source_.AddIndex({entry}, false));
  const ConvertReport report = MustConvert(Options());
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_THAT(report.notes[0],
              HasSubstr("listed for linux/amd64, but its config says linux/arm64"));
  EXPECT_THAT(report.platforms, ElementsAre(Platform{"linux", "amd64", ""}));
}

TEST_F(ConvertIndexTest, OnlyTheWantedPlatformsAreConverted) {
  ConvertOptions options = Options();
  options.platforms = {Platform{"linux", "arm64", "v8"}};
  const ConvertReport report = MustConvert(options);
  EXPECT_THAT(report.platforms, ElementsAre(Platform{"linux", "arm64", ""}));
  EXPECT_EQ(ReadIndex().manifests.size(), 1U);
  EXPECT_EQ(report.layers.size(), 2U);
}

TEST_F(ConvertIndexTest, APlatformThatIsNotThereIsNamedWithWhatIs) {
  ConvertOptions options = Options();
  options.platforms = {Platform{"linux", "amd64", ""}, Platform{"linux", "riscv64", ""}};
  const auto report = Convert(options);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(report.error().context, HasSubstr("linux/riscv64"));
  EXPECT_THAT(report.error().context, HasSubstr("linux/arm64"));
  ExpectNothing("out");
}

TEST_F(ConvertImageTest, OptionsOutOfBoundsAreNamed) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  const struct {
    const char* words;
    void (*change)(ChunkPolicy&);
  } kRows[] = {
      {"compression level 0", [](ChunkPolicy& policy) { policy.level = 0; }},
      {"compression level 20", [](ChunkPolicy& policy) { policy.level = 20; }},
      {"chunk size 5000", [](ChunkPolicy& policy) { policy.chunk_size = 5000; }},
      {"chunk size 0", [](ChunkPolicy& policy) { policy.chunk_size = 0; }},
      {"chunk size 1073741824", [](ChunkPolicy& policy) { policy.chunk_size = 1U << 30; }},
      {"largest size of a group", [](ChunkPolicy& policy) { policy.group_max = 1U << 30; }},
  };
  for (const auto& row : kRows) {
    ConvertOptions options = Options();
    row.change(options.policy);
    const auto report = Convert(options);
    ASSERT_FALSE(report.has_value()) << row.words;
    EXPECT_EQ(report.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(report.error().context, HasSubstr(row.words));
  }
}

}  // namespace
}  // namespace layerfs

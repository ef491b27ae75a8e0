// SPDX-License-Identifier: Apache-2.0
// Images that the converter must refuse, each with its reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/tools/convert_fixture.h"

namespace layerfs {
namespace {

using testing::HasSubstr;

// What is wrong with the one image of a layout, and what the error must say.
struct BadImage {
  const char* name;
  void (*make)(const LayoutImage& source, const std::string& directory);
  ErrorCode code;
  const char* words;
};

void TagImage(const LayoutImage& source, const LayoutImage::Image& image) {
  source.Tag("latest", source.AddImage(image));
}
void Overwrite(const LayoutImage& source, const Bytes& old_bytes, const Bytes& new_bytes) {
  ASSERT_TRUE(
      WriteFileAtomically(source.layout().BlobPath(Digest::Of(old_bytes)), new_bytes).has_value());
}

const BadImage kBadImages[] = {
    {"WrongDiffId",
     [](const LayoutImage& source, const std::string&) {
       TagImage(source, {.layers = {{SmallTar("a")}}, .diff_ids = {Digest::Of({})}});
     },
     ErrorCode::kDigestMismatch, "diff ID"},
    {"MoreLayersThanDiffIds",
     [](const LayoutImage& source, const std::string&) {
       TagImage(source,
                {.layers = {{SmallTar("a")}, {SmallTar("b")}}, .diff_ids = {Digest::Of({})}});
     },
     ErrorCode::kCorrupt, "1 diff IDs for 2 layers"},
    {"LayerBytesChanged",
     [](const LayoutImage& source, const std::string&) {
       TagImage(source, {.layers = {{SmallTar("a", 100000), media_type::kOciLayerTar}}});
       Bytes changed = SmallTar("a", 100000);
       changed[50000] ^= 1;
       Overwrite(source, SmallTar("a", 100000), changed);
     },
     ErrorCode::kDigestMismatch, "blob sha256:"},
    {"LayerCutShort",
     [](const LayoutImage& source, const std::string&) {
       TagImage(source, {.layers = {{SmallTar("a", 100000)}}});
       Bytes cut = Gzipped(SmallTar("a", 100000));
       cut.resize(50000);
       Overwrite(source, Gzipped(SmallTar("a", 100000)), cut);
     },
     ErrorCode::kCorrupt, "sha256:"},
    {"GzipWithGarbageBehind",
     [](const LayoutImage& source, const std::string&) {
       Bytes blob = Gzipped(SmallTar("a"));
       const size_t end = blob.size();
       blob.resize(end + 100, 'g');
       Manifest manifest;
       manifest.media_type = media_type::kOciManifest;
       manifest.config = source.AddBlob(media_type::kOciConfig,
                                        LayoutImage::Config({.layers = {{SmallTar("a")}}}));
       manifest.layers = {source.AddBlob(media_type::kOciLayerGzip, blob)};
       source.Tag("latest", source.AddBlob(manifest.media_type, manifest.Encode()));
     },
     ErrorCode::kCorrupt, "blob offset"},
    {"TarWithDotDot",
     [](const LayoutImage& source, const std::string&) {
       TagImage(source, {.layers = {{SmallTar("a")},
                                    {TarWriter().File("x", "x").File("../y", "y").Finish()}}});
     },
     ErrorCode::kCorrupt, "tar offset 1024"},
    {"ConfigWithoutPlatform",
     [](const LayoutImage& source, const std::string&) {
       Manifest manifest;
       manifest.media_type = media_type::kOciManifest;
       manifest.config = source.AddBlob(media_type::kOciConfig,
                                        TextBytes(R"({"rootfs":{"type":"layers","diff_ids":[]}})"));
       source.Tag("latest", source.AddBlob(manifest.media_type, manifest.Encode()));
     },
     ErrorCode::kCorrupt, "config sha256:"},
    {"NotAnImage",
     [](const LayoutImage& source, const std::string&) {
       Manifest manifest;
       manifest.media_type = media_type::kOciManifest;
       manifest.config = source.AddBlob("application/vnd.example+json", TextBytes("{}"));
       source.Tag("latest", source.AddBlob(manifest.media_type, manifest.Encode()));
     },
     ErrorCode::kUnsupported, "not an image"},
    {"IndexesDeepInOneAnother",
     [](const LayoutImage& source, const std::string&) {
       Descriptor index = source.AddImage({.layers = {{SmallTar("a")}}});
       for (int level = 0; level < 6; ++level) index = source.AddIndex({index}, false);
       source.Tag("latest", index);
     },
     ErrorCode::kUnsupported, "too deep in other indexes"},
    {"LayerOfAnotherKind",
     [](const LayoutImage& source, const std::string&) {
       TagImage(source, {.layers = {{SmallTar("a"), "application/vnd.example.wasm"}}});
     },
     ErrorCode::kUnsupported, "application/vnd.example.wasm"},
};

class ConvertBadImageTest : public ConvertImageTest,
                            public testing::WithParamInterface<BadImage> {};

TEST_P(ConvertBadImageTest, EndsInOneErrorAndNothingAtTheDestination) {
  GetParam().make(source_, directory_.path());
  const Result<ConvertReport> report = Convert(Options());
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, GetParam().code) << report.error().context;
  EXPECT_THAT(report.error().context, HasSubstr(GetParam().words));
  ExpectNothing("out");
}

INSTANTIATE_TEST_SUITE_P(Rows, ConvertBadImageTest, testing::ValuesIn(kBadImages),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace layerfs

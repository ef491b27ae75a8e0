// SPDX-License-Identifier: Apache-2.0
#include "fetch/manifest.h"

#include <gtest/gtest.h>

#include "fetch/base64.h"

namespace layerfs {
namespace {

// {} as a blob: OCI's empty descriptor.
constexpr char kEmptyDigest[] =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

std::string DescriptorText(const std::string& more = "") {
  return R"({"mediaType":"application/vnd.oci.image.config.v1+json","digest":")" +
         std::string(kEmptyDigest) + R"(","size":2)" + more + "}";
}

std::string ManifestText(const std::string& config, const std::string& more = "") {
  return R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":)" +
         config + R"(,"layers":[)" + DescriptorText() + "]" + more + "}";
}

TEST(Manifest, KeepsMembersThatItDoesNotKnow) {
  const std::string text = ManifestText(
      DescriptorText(R"(,"annotations":{"a":"b"},"x-new":{"k":[1,2]})"), R"(,"x-top":"kept")");
  const auto manifest = Manifest::Parse(AsBytes(text));
  ASSERT_TRUE(manifest.has_value()) << manifest.error().context;
  const Bytes encoded = manifest->Encode();
  const Json json = *ParseJson(encoded, kMaxManifestBytes);
  EXPECT_EQ(json["x-top"], "kept");
  EXPECT_EQ(json["config"]["x-new"]["k"][1], 2);
  EXPECT_EQ(json["config"]["annotations"]["a"], "b");
  EXPECT_EQ(Manifest::Parse(encoded)->Encode(), encoded);
}

TEST(Manifest, PlatformKeepsOsVersionWhenRewritten) {
  const std::string text =
      R"({"schemaVersion":2,"manifests":[)" +
      DescriptorText(R"(,"platform":{"os":"windows","architecture":"amd64","os.version":"10.0"})") +
      "]}";
  const auto index = ImageIndex::Parse(AsBytes(text));
  ASSERT_TRUE(index.has_value()) << index.error().context;
  EXPECT_EQ(index->manifests[0].platform->ToString(), "windows/amd64");
  const Json json = *ParseJson(index->Encode(), kMaxManifestBytes);
  EXPECT_EQ(json["manifests"][0]["platform"]["os.version"], "10.0");
  EXPECT_EQ(json["manifests"][0]["platform"]["os"], "windows");
}

TEST(Manifest, EmbeddedDataAreDecodedAndEncodedAgain) {
  const std::string text = ManifestText(DescriptorText(R"(,"data":"e30=")"));
  const auto manifest = Manifest::Parse(AsBytes(text));
  ASSERT_TRUE(manifest.has_value()) << manifest.error().context;
  EXPECT_EQ(AsText(*manifest->config.data), "{}");
  EXPECT_EQ(manifest->config.ToJson()["data"], "e30=");
}

TEST(Manifest, WithoutMediaTypeIsOci) {
  const std::string text =
      R"({"schemaVersion":2,"config":)" + DescriptorText() + R"(,"layers":[]})";
  EXPECT_EQ(Manifest::Parse(AsBytes(text))->media_type, media_type::kOciManifest);
  EXPECT_EQ(*SniffMediaType(AsBytes(text)), media_type::kOciManifest);
  const std::string_view index = R"({"schemaVersion":2,"manifests":[]})";
  EXPECT_EQ(*SniffMediaType(AsBytes(index)), media_type::kOciIndex);
}

struct Bad {
  const char* name;
  std::string text;
  ErrorCode code;
  const char* says;
};
class BadManifest : public testing::TestWithParam<Bad> {};

TEST_P(BadManifest, IsRefusedNamingTheMember) {
  const auto manifest = Manifest::Parse(AsBytes(GetParam().text));
  ASSERT_FALSE(manifest.has_value());
  EXPECT_EQ(manifest.error().code, GetParam().code) << manifest.error().context;
  EXPECT_NE(manifest.error().context.find(GetParam().says), std::string::npos)
      << manifest.error().context;
}

std::string WithLayer(const std::string& layer) {
  return R"({"schemaVersion":2,"config":)" + DescriptorText() + R"(,"layers":[)" +
         DescriptorText() + "," + layer + "]}";
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadManifest,
    testing::Values(
        Bad{"Garbage", "<html>", ErrorCode::kCorrupt, "JSON at byte"},
        Bad{"NotAnObject", "[]", ErrorCode::kCorrupt, "not a JSON object"},
        Bad{"NoVersion", "{}", ErrorCode::kCorrupt, "schemaVersion"},
        Bad{"Schema1", R"({"schemaVersion":1,"fsLayers":[]})", ErrorCode::kUnsupported,
            "Docker schema 1"},
        Bad{"TooLarge", R"({"schemaVersion":2,"x":")" + std::string(4 << 20, 'x') + "\"}",
            ErrorCode::kTooLarge, "limit"},
        Bad{"NoConfig", R"({"schemaVersion":2,"layers":[]})", ErrorCode::kCorrupt, "config"},
        Bad{"NoLayers", R"({"schemaVersion":2,"config":)" + DescriptorText() + "}",
            ErrorCode::kCorrupt, "layers"},
        Bad{"IndexAndManifest", ManifestText(DescriptorText(), R"(,"manifests":[])"),
            ErrorCode::kCorrupt, "both"},
        Bad{"AnIndex",
            R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"})",
            ErrorCode::kUnsupported, "media type"},
        Bad{"LayerIsAString", WithLayer("\"x\""), ErrorCode::kCorrupt, "layers[1]"},
        Bad{"LayerWithoutDigest", WithLayer(R"({"mediaType":"a","size":1})"), ErrorCode::kCorrupt,
            "layers[1]: JSON member \"digest\""},
        Bad{"DigestUpperCase",
            WithLayer(R"({"mediaType":"a","size":1,"digest":"sha256:)" + std::string(64, 'A') +
                      "\"}"),
            ErrorCode::kCorrupt, "layers[1]"},
        Bad{"DigestOfAnotherAlgorithm",
            WithLayer(R"({"mediaType":"a","size":1,"digest":"sha512:ab"})"),
            ErrorCode::kUnsupported, "layers[1]"},
        Bad{"NegativeSize",
            WithLayer(R"({"mediaType":"a","size":-1,"digest":")" + std::string(kEmptyDigest) +
                      "\"}"),
            ErrorCode::kCorrupt, "size"},
        Bad{"SizeBeyondFiles",
            WithLayer(R"({"mediaType":"a","size":18446744073709551615,"digest":")" +
                      std::string(kEmptyDigest) + "\"}"),
            ErrorCode::kCorrupt, "size"},
        Bad{"AnnotationNotAString", ManifestText(DescriptorText(R"(,"annotations":{"a":1})")),
            ErrorCode::kCorrupt, "annotations[\"a\"]"},
        Bad{"DataOfAnotherSize", ManifestText(DescriptorText(R"(,"data":"e30K")")),
            ErrorCode::kCorrupt, "3 bytes"},
        Bad{"DataOfAnotherBlob", ManifestText(DescriptorText(R"(,"data":"e3s=")")),
            ErrorCode::kDigestMismatch, "config"},
        Bad{"DataNotBase64", ManifestText(DescriptorText(R"(,"data":"e3?=")")), ErrorCode::kCorrupt,
            "base64"},
        Bad{"PlatformWithoutOs",
            ManifestText(DescriptorText(R"(,"platform":{"architecture":"x"})")),
            ErrorCode::kCorrupt, "platform: JSON member \"os\""}),
    [](const auto& info) { return info.param.name; });

TEST(ImageConfig, GivesPlatformAndDiffIds) {
  const std::string text = R"({"os":"linux","architecture":"arm64","variant":"v8","rootfs":)"
                           R"({"type":"layers","diff_ids":[")" +
                           std::string(kEmptyDigest) + R"("]}})";
  const auto config = ImageConfig::Parse(AsBytes(text));
  ASSERT_TRUE(config.has_value()) << config.error().context;
  EXPECT_EQ(config->platform.ToString(), "linux/arm64/v8");
  EXPECT_EQ(config->diff_ids[0].ToString(), kEmptyDigest);
}

TEST(ImageConfig, WithoutPlatformIsRefusedWithTheRemedy) {
  const auto config = ImageConfig::Parse(AsBytes(R"({"rootfs":{"diff_ids":[]}})"));
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(config.error().context.find("umoci config --os"), std::string::npos);
}

TEST(ImageConfig, WithBadDiffIdIsRefusedNamingIt) {
  const auto config = ImageConfig::Parse(
      AsBytes(R"({"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["md5:x"]}})"));
  ASSERT_FALSE(config.has_value());
  EXPECT_EQ(config.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(config.error().context.find("rootfs.diff_ids[0]"), std::string::npos);
}

TEST(Platform, ParsesWhatUsersWriteAndRefusesTheRest) {
  EXPECT_EQ(Platform::Parse("linux/x86_64")->ToString(), "linux/amd64");
  EXPECT_EQ(Platform::Parse("linux/aarch64")->ToString(), "linux/arm64");
  EXPECT_EQ(Platform::Parse("linux/arm/v7")->ToString(), "linux/arm/v7");
  for (const char* bad :
       {"", "linux", "linux/", "/amd64", "linux/amd64/", "Linux/amd64", "a/b/c/d"}) {
    EXPECT_FALSE(Platform::Parse(bad).has_value()) << bad;
  }
}

TEST(Platform, VariantCountsOnlyWhereItIsAskedFor) {
  const Platform arm64_v8{"linux", "arm64", "v8"};
  const Platform arm64{"linux", "arm64", ""};
  const Platform v6{"linux", "arm", "v6"};
  const Platform arm{"linux", "arm", ""};
  EXPECT_TRUE(arm64_v8.Satisfies(arm64));
  EXPECT_TRUE(arm64.Satisfies(arm64_v8));
  EXPECT_TRUE(v6.Satisfies(arm));
  EXPECT_FALSE(v6.Satisfies(Platform{"linux", "arm", "v7"}));
  EXPECT_FALSE(arm64.Satisfies(Platform{"linux", "amd64", ""}));
}

TEST(MediaType, KnowsLayersOfAllFormsAndNothingElse) {
  EXPECT_TRUE(media_type::IsLayer("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"));
  EXPECT_TRUE(media_type::IsLayer(media_type::kDockerLayerGzip));
  EXPECT_FALSE(media_type::IsLayer(media_type::kOciConfig));
  EXPECT_TRUE(media_type::IsIndex(media_type::kDockerList));
  EXPECT_FALSE(media_type::IsManifest(media_type::kDockerList));
}

TEST(Base64, RoundTripsEveryLength) {
  Bytes data;
  for (int i = 0; i < 70; ++i) {
    EXPECT_EQ(*Base64Decode(Base64Encode(data)), data);
    data.push_back(static_cast<uint8_t>(i * 37));
  }
  EXPECT_EQ(Base64Encode(AsBytes("foobar")), "Zm9vYmFy");  // RFC 4648 section 10
  EXPECT_EQ(Base64Encode(AsBytes("foob")), "Zm9vYg==");
  for (const char* bad : {"A", "AA=", "=AAA", "AA=A", "A===", "AA\nA", "===="}) {
    EXPECT_FALSE(Base64Decode(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace layerfs

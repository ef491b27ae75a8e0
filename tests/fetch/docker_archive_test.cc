// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "fetch/image_store.h"
#include "tests/fetch/temp_dir.h"
#include "tests/index/tar_writer.h"

namespace layerfs {
namespace {

using testing::HasSubstr;

std::string ConfigText(const std::vector<std::string>& layers) {
  Json config = {{"os", "linux"}, {"architecture", "amd64"}, {"rootfs", {{"type", "layers"}}}};
  config["rootfs"]["diff_ids"] = Json::array();
  for (const std::string& layer : layers) {
    config["rootfs"]["diff_ids"].push_back(Digest::Of(AsBytes(layer)).ToString());
  }
  return config.dump();
}

class DockerArchive : public testing::Test {
 protected:
  std::string Write(const Bytes& tar) { return directory_.Write("image.tar", AsText(tar)); }
  Result<std::shared_ptr<ImageReader>> Open(const std::string& tail = "") {
    return stores_.OpenReader(
        *ImageReference::Parse("docker-archive:" + (directory_ / "image.tar") + tail));
  }
  static std::string ReadAll(ImageReader& reader, const Descriptor& descriptor) {
    std::string got;
    const Status read = reader.ReadBlob(descriptor, [&](ByteSpan data) {
      got += AsText(data);
      return Status();
    });
    EXPECT_TRUE(read.has_value()) << read.error().context;
    return got;
  }

  TempDir directory_;
  ImageStores stores_{StoreOptions{}};
};

TEST_F(DockerArchive, TheOldLayoutWithLinkedLayersIsRead) {
  const std::string base = Pattern(300'000, 1);
  const std::string top = Pattern(1'000, 2);
  const std::string config = ConfigText({base, top, base});
  Write(TarWriter()
            .Directory("aa")
            .File("aa/VERSION", "1.0")
            .File("aa/layer.tar", base)
            .File("bb/layer.tar", top)
            .Symlink("cc/layer.tar", "../aa/layer.tar")
            .File("config.json", config)
            .File("manifest.json", R"([{"Config":"config.json","RepoTags":["app:v1"],"Layers":)"
                                   R"(["aa/layer.tar","bb/layer.tar","cc/layer.tar"]}])")
            .Finish());
  const auto reader = Open();
  ASSERT_TRUE(reader.has_value()) << reader.error().context;
  const RawDocument root = *(*reader)->ReadRoot();
  EXPECT_EQ(root.media_type, media_type::kDockerManifest);
  const Manifest manifest = *Manifest::Parse(root.raw);
  EXPECT_EQ(ReadAll(**reader, manifest.config), config);
  ASSERT_EQ(manifest.layers.size(), 3U);
  EXPECT_EQ(ReadAll(**reader, manifest.layers[0]), base);
  EXPECT_EQ(ReadAll(**reader, manifest.layers[1]), top);
  EXPECT_EQ(ReadAll(**reader, manifest.layers[2]), base);
  EXPECT_EQ(manifest.layers[0].media_type, media_type::kDockerLayerTar);
  EXPECT_EQ((*reader)->blob_source(), nullptr);
}

TEST_F(DockerArchive, WhatIsNoRegularFileIsToldWithTheRemedyAndDoesNotHang) {
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe(pipe_ends.data()), 0);
  const UniqueFd read_end(pipe_ends[0]);
  const UniqueFd write_end(pipe_ends[1]);
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  for (const std::string& path : {directory_ / "fifo", std::string(directory_.path()),
                                  "/dev/fd/" + std::to_string(read_end.get())}) {
    const auto reader = stores_.OpenReader(*ImageReference::Parse("docker-archive:" + path));
    ASSERT_FALSE(reader.has_value()) << path;
    EXPECT_EQ(reader.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(reader.error().context, HasSubstr(path + ": not a regular file"));
    EXPECT_THAT(reader.error().context, HasSubstr("save it to a file"));
  }
}

TEST_F(DockerArchive, ImagesAreChosenByNameInAnySpelling) {
  const std::string layer = "x";
  const std::string config = ConfigText({layer});
  const std::string other = ConfigText({layer, layer});
  Write(TarWriter()
            .File("l", layer)
            .File("one", config)
            .File("two", other)
            .File("manifest.json",
                  R"([{"Config":"one","RepoTags":["debian:12"],"Layers":["l"]},)"
                  R"({"Config":"two","RepoTags":["docker.io/library/app:v1"],"Layers":["l","l"]}])")
            .Finish());
  EXPECT_EQ(
      Manifest::Parse((*Open(":docker.io/library/debian:12"))->ReadRoot()->raw)->layers.size(), 1U);
  EXPECT_EQ(Manifest::Parse((*Open(":app:v1"))->ReadRoot()->raw)->layers.size(), 2U);
  const auto unnamed = Open();
  ASSERT_FALSE(unnamed.has_value());
  EXPECT_THAT(unnamed.error().context, HasSubstr("debian:12, docker.io/library/app:v1"));
  const auto missing = Open(":app:v2");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
}

TEST_F(DockerArchive, ImagesWithoutNamesAreChosenByTheirPlace) {
  const std::string layer = "x";
  Write(TarWriter()
            .File("l", layer)
            .File("one", ConfigText({layer}))
            .File("two", ConfigText({layer, layer}))
            .File("manifest.json", R"([{"Config":"one","RepoTags":null,"Layers":["l"]},)"
                                   R"({"Config":"two","Layers":["l","l"]}])")
            .Finish());
  EXPECT_EQ(Manifest::Parse((*Open(":@0"))->ReadRoot()->raw)->layers.size(), 1U);
  EXPECT_EQ(Manifest::Parse((*Open(":@1"))->ReadRoot()->raw)->layers.size(), 2U);
  const auto unnamed = Open();
  ASSERT_FALSE(unnamed.has_value());
  EXPECT_THAT(unnamed.error().context, HasSubstr("there is: @0, @1"));
  for (const char* const name : {":@2", ":@", ":@-1", ":@01"}) {
    const auto missing = Open(name);
    ASSERT_FALSE(missing.has_value()) << name;
    EXPECT_EQ(missing.error().code, ErrorCode::kNotFound) << name;
  }
}

TEST_F(DockerArchive, CompressedLayersKeepTheirBytes) {
  const std::string gzip = "\x1f\x8b\x08 not looked into";
  const std::string config = ConfigText({"the tar inside"});
  Write(TarWriter()
            .File("blobs/sha256/aa", gzip)
            .File("blobs/sha256/bb", config)
            .File("index.json", "{}")
            .File("oci-layout", "{}")
            .File("manifest.json", R"([{"Config":"blobs/sha256/bb","Layers":["blobs/sha256/aa"]}])")
            .Finish());
  const auto reader = Open();
  ASSERT_TRUE(reader.has_value()) << reader.error().context;
  const Manifest manifest = *Manifest::Parse((*reader)->ReadRoot()->raw);
  EXPECT_EQ(manifest.layers[0].media_type, media_type::kDockerLayerGzip);
  EXPECT_EQ(manifest.layers[0].digest, Digest::Of(AsBytes(gzip)));
  EXPECT_EQ(ReadAll(**reader, manifest.layers[0]), gzip);
}

TEST_F(DockerArchive, ALayerThatIsNotItsDiffIdIsAMismatch) {
  Write(TarWriter()
            .File("l", "wrong")
            .File("c", ConfigText({"right"}))
            .File("manifest.json", R"([{"Config":"c","Layers":["l"]}])")
            .Finish());
  const auto reader = Open();
  ASSERT_TRUE(reader.has_value());
  const Manifest manifest = *Manifest::Parse((*reader)->ReadRoot()->raw);
  const Status read = (*reader)->ReadBlob(manifest.layers[0], [](ByteSpan) { return Status(); });
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::kDigestMismatch);
}

TEST_F(DockerArchive, AGzippedArchiveIsReadToo) {
  const std::string layer = Pattern(100'000);
  Write(TarWriter()
            .File("l", layer)
            .File("c", ConfigText({layer}))
            .File("manifest.json", R"([{"Config":"c","Layers":["l"]}])")
            .Finish());
  ASSERT_EQ(std::system(("gzip " + (directory_ / "image.tar")).c_str()), 0);
  std::filesystem::rename(directory_ / "image.tar.gz", directory_ / "image.tar");
  const auto reader = Open();
  ASSERT_TRUE(reader.has_value()) << reader.error().context;
  const Manifest manifest = *Manifest::Parse((*reader)->ReadRoot()->raw);
  EXPECT_EQ(ReadAll(**reader, manifest.layers[0]), layer);
}

TEST_F(DockerArchive, LongAndPaxNamesHaveTheRightOffsets) {
  const std::string name = std::string(150, 'd') + "/" + std::string(150, 'f');
  const std::string layer = Pattern(5'000);
  Write(TarWriter()
            .Add({.path = name, .content = layer})
            .Add({.path = "gnu/" + name, .content = layer, .dialect = TarDialect::kGnu})
            .File("c", ConfigText({layer, layer}))
            .File("manifest.json",
                  R"([{"Config":"c","Layers":[")" + name + R"(","gnu/)" + name + R"("]}])")
            .Finish());
  const auto reader = Open();
  ASSERT_TRUE(reader.has_value()) << reader.error().context;
  const Manifest manifest = *Manifest::Parse((*reader)->ReadRoot()->raw);
  EXPECT_EQ(ReadAll(**reader, manifest.layers[0]), layer);
  EXPECT_EQ(ReadAll(**reader, manifest.layers[1]), layer);
}

struct Bad {
  const char* name;
  Bytes tar;
  const char* says;
};
std::ostream& operator<<(std::ostream& out, const Bad& row) { return out << row.name; }
class BadDockerArchive : public testing::TestWithParam<Bad> {};

TEST_P(BadDockerArchive, IsRefusedSayingWhy) {
  const TempDir directory;
  const std::string file = directory.Write("bad.tar", AsText(GetParam().tar));
  ImageStores stores{StoreOptions{}};
  const auto reader = stores.OpenReader(*ImageReference::Parse("docker-archive:" + file));
  ASSERT_FALSE(reader.has_value());
  EXPECT_THAT(reader.error().context, HasSubstr(GetParam().says));
  EXPECT_THAT(reader.error().context, HasSubstr("bad.tar"));
}

Bytes WithManifest(const std::string& manifest) {
  return TarWriter()
      .File("c", ConfigText({"l"}))
      .File("l", "l")
      .File("manifest.json", manifest)
      .Finish();
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadDockerArchive,
    testing::Values(
        Bad{"Empty", TarWriter().Finish(), "no manifest.json"},
        Bad{"Garbage", Bytes(4096, 'x'), "bad.tar"},
        Bad{"OciArchive", TarWriter().File("index.json", "{}").Finish(), "skopeo copy oci-archive"},
        Bad{"NotJson", WithManifest("<"), "manifest.json"},
        Bad{"NotAList", WithManifest("{}"), "not a JSON array"},
        Bad{"NoConfig", WithManifest(R"([{"Layers":[]}])"), "Config"},
        Bad{"ConfigMissing", WithManifest(R"([{"Config":"x","Layers":[]}])"), "no member \"x\""},
        Bad{"LayerMissing", WithManifest(R"([{"Config":"c","Layers":["../x"]}])"), "layer 0"},
        Bad{"LayerCount", WithManifest(R"([{"Config":"c","Layers":[]}])"), "names 0 layers"},
        Bad{"LinkLoop",
            TarWriter()
                .Symlink("a", "b")
                .Symlink("b", "a")
                .File("manifest.json", R"([{"Config":"a","Layers":[]}])")
                .Finish(),
            "too many links"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

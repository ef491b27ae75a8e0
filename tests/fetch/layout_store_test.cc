// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "fetch/image_store.h"
#include "tests/fetch/temp_dir.h"
#include "tests/fetch/transfer_log.h"

namespace layerfs {
namespace {

using testing::HasSubstr;

class LayoutStore : public testing::Test {
 protected:
  std::string Layout() const { return directory_ / "layout"; }
  std::shared_ptr<ImageReader> Reader(const std::string& tail) {
    return *stores_.OpenReader(*ImageReference::Parse("oci:" + Layout() + tail));
  }
  std::shared_ptr<ImageWriter> Writer(const std::string& tail) {
    return *stores_.OpenWriter(*ImageReference::Parse("oci:" + Layout() + tail));
  }
  static RawDocument EmptyManifest(const std::string& note) {
    Manifest manifest;
    manifest.media_type = media_type::kOciManifest;
    manifest.config.media_type = media_type::kOciConfig;
    manifest.annotations["note"] = note;
    Bytes raw = manifest.Encode();
    const Digest digest = Digest::Of(raw);
    return {std::move(raw), manifest.media_type, digest};
  }
  static RawDocument ManifestOf(const Descriptor& layer) {
    Manifest manifest;
    manifest.media_type = media_type::kOciManifest;
    manifest.config.media_type = media_type::kOciConfig;
    manifest.layers = {layer};
    Bytes raw = manifest.Encode();
    const Digest digest = Digest::Of(raw);
    return {std::move(raw), manifest.media_type, digest};
  }
  Digest PutBlob(ImageWriter& writer, const std::string& content) {
    const std::string file = directory_.Write("blob", content);
    const UniqueFd fd = *OpenFile(file, O_RDONLY);
    const Digest digest = Digest::Of(AsBytes(content));
    EXPECT_TRUE(writer.WriteBlob(digest, content.size(), fd.get(), nullptr).has_value());
    return digest;
  }
  static Descriptor Describe(const Digest& digest, uint64_t size) {
    Descriptor descriptor;
    descriptor.media_type = media_type::kOciLayerTar;
    descriptor.digest = digest;
    descriptor.size = size;
    return descriptor;
  }
  std::string BlobFile(const Digest& digest) const {
    return Layout() + "/blobs/sha256/" + digest.Hex();
  }

  TempDir directory_;
  ImageStores stores_{StoreOptions{}};
};

TEST_F(LayoutStore, WhatIsWrittenIsReadBack) {
  const auto writer = Writer(":v1");
  const std::string content = Pattern(5'000'000);
  const Digest digest = PutBlob(*writer, content);
  EXPECT_TRUE(*writer->HasBlob(digest, content.size()));
  EXPECT_FALSE(*writer->HasBlob(digest, content.size() + 1));
  const RawDocument manifest = EmptyManifest("a");
  ASSERT_TRUE(writer->WriteRoot(manifest).has_value());

  const auto reader = Reader(":v1");
  const auto root = reader->ReadRoot();
  ASSERT_TRUE(root.has_value()) << root.error().context;
  EXPECT_EQ(root->raw, manifest.raw);
  EXPECT_EQ(root->digest, manifest.digest);
  EXPECT_EQ(root->media_type, media_type::kOciManifest);
  std::string got;
  const Status read = reader->ReadBlob(Describe(digest, content.size()), [&](ByteSpan data) {
    got += AsText(data);
    return Status();
  });
  ASSERT_TRUE(read.has_value()) << read.error().context;
  EXPECT_EQ(got, content);
}

TEST_F(LayoutStore, NothingButTheDocumentedFilesIsLeft) {
  const auto writer = Writer(":v1");
  PutBlob(*writer, "x");
  ASSERT_TRUE(writer->WriteRoot(EmptyManifest("a")).has_value());
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Layout())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("oci-layout", "index.json", "blobs"));
}

TEST_F(LayoutStore, SettingATagKeepsTheOthersAndReplacesItsOwn) {
  ASSERT_TRUE(Writer(":a")->WriteRoot(EmptyManifest("1")).has_value());
  ASSERT_TRUE(Writer(":b")->WriteRoot(EmptyManifest("2")).has_value());
  ASSERT_TRUE(Writer(":a")->WriteRoot(EmptyManifest("3")).has_value());
  EXPECT_EQ(Reader(":a")->ReadRoot()->digest, EmptyManifest("3").digest);
  EXPECT_EQ(Reader(":b")->ReadRoot()->digest, EmptyManifest("2").digest);
  const auto unnamed = Reader("")->ReadRoot();
  ASSERT_FALSE(unnamed.has_value());
  EXPECT_THAT(unnamed.error().context, HasSubstr("there is: b, a"));
}

TEST_F(LayoutStore, ConcurrentWritersLoseNoTag) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const std::string tag = "t" + std::to_string(i);
      EXPECT_TRUE(Writer(":" + tag)->WriteRoot(EmptyManifest(tag)).has_value());
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 8; ++i) {
    const std::string tag = "t" + std::to_string(i);
    EXPECT_EQ(Reader(":" + tag)->ReadRoot()->digest, EmptyManifest(tag).digest);
  }
}

TEST_F(LayoutStore, AMissingTagListsWhatThereIs) {
  ASSERT_TRUE(Writer(":v1")->WriteRoot(EmptyManifest("1")).has_value());
  const auto root = Reader(":v2")->ReadRoot();
  ASSERT_FALSE(root.has_value());
  EXPECT_EQ(root.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(root.error().context, HasSubstr("v1"));
}

TEST_F(LayoutStore, ADirectoryThatIsNoLayoutSaysSo) {
  std::filesystem::create_directories(Layout());
  const auto root = Reader("")->ReadRoot();
  ASSERT_FALSE(root.has_value());
  EXPECT_EQ(root.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(root.error().context, HasSubstr("not an OCI layout"));
}

TEST_F(LayoutStore, ABlobWithOtherBytesIsADigestMismatch) {
  const auto writer = Writer(":v1");
  const Digest digest = PutBlob(*writer, "right");
  TempDir::Read(BlobFile(digest));
  std::ofstream(BlobFile(digest)) << "wrong";
  const Status read =
      Reader(":v1")->ReadBlob(Describe(digest, 5), [](ByteSpan) { return Status(); });
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::kDigestMismatch);
}

TEST_F(LayoutStore, ATruncatedBlobIsCorruptBeforeAByteIsGivenOut) {
  const auto writer = Writer(":v1");
  const Digest digest = PutBlob(*writer, "right");
  std::filesystem::resize_file(BlobFile(digest), 3);
  bool called = false;
  const Status read = Reader(":v1")->ReadBlob(Describe(digest, 5), [&](ByteSpan) {
    called = true;
    return Status();
  });
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(called);
}

TEST_F(LayoutStore, AFifoInPlaceOfABlobDoesNotHang) {
  const auto writer = Writer(":v1");
  const Digest digest = PutBlob(*writer, "right");
  std::filesystem::remove(BlobFile(digest));
  ASSERT_EQ(mkfifo(BlobFile(digest).c_str(), 0600), 0);
  const Status read =
      Reader(":v1")->ReadBlob(Describe(digest, 5), [](ByteSpan) { return Status(); });
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
}

TEST_F(LayoutStore, ASourceFileThatIsTooShortLeavesNothing) {
  const auto writer = Writer(":v1");
  const std::string file = directory_.Write("short", "abc");
  const UniqueFd fd = *OpenFile(file, O_RDONLY);
  const Digest digest = Digest::Of(AsBytes("abcdef"));
  EXPECT_FALSE(writer->WriteBlob(digest, 6, fd.get(), nullptr).has_value());
  EXPECT_TRUE(std::filesystem::is_empty(Layout() + "/blobs/sha256"));
}

TEST_F(LayoutStore, WhatNoImageNamesGoesWithItsWriter) {
  auto first = Writer(":v1");
  const Digest kept = PutBlob(*first, "kept");
  ASSERT_TRUE(first->WriteRoot(ManifestOf(Describe(kept, 4))).has_value());
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(BlobFile(kept)));

  auto second = Writer(":v2");
  PutBlob(*second, "kept");
  const Digest added = PutBlob(*second, "added");
  ASSERT_TRUE(second->WriteManifest(EmptyManifest("lost")).has_value());
  EXPECT_TRUE(std::filesystem::exists(BlobFile(added)));
  second.reset();
  EXPECT_FALSE(std::filesystem::exists(BlobFile(added)));
  EXPECT_FALSE(std::filesystem::exists(BlobFile(EmptyManifest("lost").digest)));
  EXPECT_TRUE(std::filesystem::exists(BlobFile(kept)));
  EXPECT_TRUE(Reader(":v1")->ReadRoot().has_value());
}

TEST_F(LayoutStore, ALayoutThatWasMadeForNothingGoes) {
  PutBlob(*Writer(":v1"), "lost");
  EXPECT_FALSE(std::filesystem::exists(Layout()));
  // What was there before stays, and so does a file that is not ours.
  std::filesystem::create_directories(Layout());
  PutBlob(*Writer(":v1"), "lost");
  EXPECT_TRUE(std::filesystem::exists(Layout()));
  EXPECT_TRUE(std::filesystem::is_empty(Layout()));
}

TEST_F(LayoutStore, ABlobThatAnotherWriterHasSeenStays) {
  auto first = Writer(":v1");
  const Digest shared = PutBlob(*first, "shared");
  auto second = Writer(":v2");
  EXPECT_TRUE(*second->HasBlob(shared, 6));
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(BlobFile(shared)));
  EXPECT_TRUE(second->WriteRoot(ManifestOf(Describe(shared, 6))).has_value());
}

TEST_F(LayoutStore, WhereADocumentCannotBeReadNothingIsTakenBack) {
  auto writer = Writer(":v1");
  ASSERT_TRUE(writer->WriteRoot(EmptyManifest("1")).has_value());
  const Digest added = PutBlob(*writer, "added");
  std::ofstream(BlobFile(EmptyManifest("1").digest)) << "{broken";
  writer.reset();
  EXPECT_TRUE(std::filesystem::exists(BlobFile(added)));
}

TEST_F(LayoutStore, WhatAKilledWriterLeftGoesWhenNobodyElseWrites) {
  ASSERT_TRUE(Writer(":v1")->WriteRoot(EmptyManifest("1")).has_value());
  const std::string blobs = Layout() + "/blobs/sha256/";
  const std::vector<std::string> leftovers = {blobs + ".tmp-1-0",
                                              blobs + std::string(64, 'a') + ".tmp.1.0",
                                              Layout() + "/index.json.tmp.1.7"};
  const std::vector<std::string> others = {blobs + ".tmp-theirs", blobs + "x.tmp.1.0",
                                           blobs + ".tmp-1-", Layout() + "/notes.tmp.1.0"};
  for (const std::string& path : leftovers) std::ofstream(path) << "half";
  for (const std::string& path : others) std::ofstream(path) << "theirs";
  auto second = Writer(":v2");
  ASSERT_TRUE(second->HasBlob(EmptyManifest("1").digest, 1).has_value());
  for (const std::string& path : leftovers) EXPECT_FALSE(std::filesystem::exists(path)) << path;
  for (const std::string& path : others) EXPECT_TRUE(std::filesystem::exists(path)) << path;

  // The second is alive, so this may be its.
  std::ofstream(leftovers[0]) << "being written";
  PutBlob(*Writer(":v3"), "third");
  EXPECT_TRUE(std::filesystem::exists(leftovers[0]));
}

TEST_F(LayoutStore, AWriterThatIsCancelledLeavesNothing) {
  auto writer = Writer(":v1");
  const std::string content(9 << 20, 'x');
  const UniqueFd fd = *OpenFile(directory_.Write("blob", content), O_RDONLY);
  int reports = 0;
  const Status written =
      writer->WriteBlob(Digest::Of(AsBytes(content)), content.size(), fd.get(), [&](uint64_t) {
        ++reports;
        writer->Cancel();
      });
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(reports, 1);
  writer.reset();
  EXPECT_FALSE(std::filesystem::exists(Layout()));
}

TEST_F(LayoutStore, UnknownMembersOfTheIndexSurviveAWrite) {
  ASSERT_TRUE(Writer(":v1")->WriteRoot(EmptyManifest("1")).has_value());
  Json index = Json::parse(TempDir::Read(Layout() + "/index.json"));
  index["x-theirs"] = "kept";
  std::ofstream(Layout() + "/index.json") << index;
  ASSERT_TRUE(Writer(":v2")->WriteRoot(EmptyManifest("2")).has_value());
  EXPECT_EQ(Json::parse(TempDir::Read(Layout() + "/index.json"))["x-theirs"], "kept");
}

TEST_F(LayoutStore, RangesComeInOrderAndExactly) {
  const auto writer = Writer(":v1");
  const std::string content = Pattern(1'000'000);
  const Digest digest = PutBlob(*writer, content);
  const auto source = Reader(":v1")->blob_source();
  std::string bytes;
  const TransferResult result =
      FetchRange(*source, {digest, content.size(), 1000, 700'000}, &bytes);
  ASSERT_TRUE(result.status.has_value()) << result.status.error().context;
  EXPECT_EQ(bytes, content.substr(1000, 700'000));
  EXPECT_EQ(result.body_bytes, 700'000U);
}

TEST_F(LayoutStore, ARangeOutsideTheBlobIsAnError) {
  const auto writer = Writer(":v1");
  const Digest digest = PutBlob(*writer, "abc");
  std::string bytes;
  const TransferResult result =
      FetchRange(*Reader(":v1")->blob_source(), {digest, 3, 2, 2}, &bytes);
  ASSERT_FALSE(result.status.has_value());
  EXPECT_EQ(result.status.error().code, ErrorCode::kInvalidArgument);
}

TEST_F(LayoutStore, ASinkThatHasEnoughStopsTheTransfer) {
  const auto writer = Writer(":v1");
  const std::string content = Pattern(2'000'000);
  const Digest digest = PutBlob(*writer, content);
  const auto source = Reader(":v1")->blob_source();
  TransferLog log(1);
  source->Start({digest, content.size(), 0, content.size()}, FetchClass::kFill, log.Sink());
  EXPECT_EQ(log.Wait().status.error().code, ErrorCode::kCancelled);
  EXPECT_LT(log.bytes().size(), content.size());
}

TEST_F(LayoutStore, APinThatTheTagDoesNotMeetIsAMismatch) {
  ASSERT_TRUE(Writer(":v1")->WriteRoot(EmptyManifest("1")).has_value());
  const auto root = Reader(":v1@" + EmptyManifest("2").digest.ToString())->ReadRoot();
  ASSERT_FALSE(root.has_value());
  EXPECT_EQ(root.error().code, ErrorCode::kDigestMismatch);
  EXPECT_TRUE(Reader("@" + EmptyManifest("1").digest.ToString())->ReadRoot().has_value());
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Reads of an image whose chunk table is cut in other ways than convert would: one chunk a segment,
// of any size.
#include "fs/file_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "fs/errno.h"
#include "index/base/file.h"
#include "index/base/zstd_codec.h"
#include "index/chunk_table.h"
#include "index/index_codec.h"
#include "index/layer_footer.h"
#include "index/layer_index_builder.h"
#include "tests/fetch/temp_dir.h"
#include "tests/index/tar_parse_helper.h"

namespace layerfs {
namespace {

constexpr size_t kFileBytes = size_t{1} << 20;

std::string FileContent() {
  std::string content(kFileBytes, 0);
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + i / 4096);
  return content;
}

// A layer blob: the tar as it is, then the segments of its chunk table, then the index.
struct ForgedLayer {
  Bytes blob;
  Digest diff_id;
  ChunkRef index;
  std::vector<ObjectId> chunks;
};

ForgedLayer ForgeLayer(const Bytes& tar, uint32_t chunk_bytes) {
  ForgedLayer layer;
  layer.blob = tar;
  layer.diff_id = Digest::Of(tar);
  std::vector<SegmentRef> segments;
  for (uint64_t begin = 0; begin < tar.size(); begin += chunk_bytes) {
    const auto size = static_cast<uint32_t>(std::min<uint64_t>(chunk_bytes, tar.size() - begin));
    const Chunk chunk{
        {Digest::Of(ByteSpan(tar).subspan(begin, size)), begin, size, size, ChunkCodec::kStored},
        begin};
    layer.chunks.push_back({chunk.ref.digest, size, {}});
    const Bytes encoded = ChunkTableSegment::Encode({&chunk, 1}, {});
    SegmentRef segment;
    segment.ref =
        ChunkRef{Digest::Of(encoded), layer.blob.size(), static_cast<uint32_t>(encoded.size()),
                 static_cast<uint32_t>(encoded.size()), ChunkCodec::kStored};
    segment.tar_begin = begin;
    segment.tar_end = begin + size;
    segments.push_back(segment);
    layer.blob.insert(layer.blob.end(), encoded.begin(), encoded.end());
  }
  LayerIndexBuilder builder;
  const std::vector<TarEntry> entries = ParseTar(tar).value();
  for (const TarEntry& entry : entries) EXPECT_TRUE(builder.Add(entry).has_value());
  const Bytes arranged =
      EncodeIndex(builder.Finish({layer.diff_id, tar.size(), segments}).value()).value();
  Bytes stored;
  EXPECT_TRUE(ZstdCompressor(3).Compress(arranged, stored).has_value());
  layer.index =
      ChunkRef{Digest::Of(arranged), layer.blob.size(), static_cast<uint32_t>(stored.size()),
               static_cast<uint32_t>(arranged.size()), ChunkCodec::kZstdFrame};
  layer.blob.insert(layer.blob.end(), stored.begin(), stored.end());
  return layer;
}

class FileReaderTest : public ::testing::Test {
 protected:
  // Opens an image of one layer whose every chunk of `chunk_bytes` has a segment of its own.
  void Open(uint32_t chunk_bytes) {
    OpenLayer(ForgeLayer(TarWriter().File("file", FileContent()).Finish(), chunk_bytes));
    file_ = File("file");
  }
  void OpenLayer(const ForgedLayer& layer) {
    const ImageReference reference =
        ImageReference::Parse("oci:" + (directory_ / "image:latest")).value();
    const auto writer = stores_.OpenWriter(reference).value();
    const std::string config = R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers",)"
                               R"("diff_ids":[")" +
                               layer.diff_id.ToString() + R"("]}})";
    Manifest manifest;
    manifest.media_type = media_type::kOciManifest;
    manifest.config = Write(*writer, AsBytes(config), media_type::kOciConfig);
    manifest.layers = {Write(*writer, layer.blob, media_type::kOciLayerZstd)};
    manifest.layers[0].annotations = EncodeIndexAnnotations(layer.index);
    const Bytes raw = manifest.Encode();
    ASSERT_TRUE(writer->WriteRoot({raw, media_type::kOciManifest, Digest::Of(raw)}).has_value());
    auto image = Image::Load(reference, context_, {});
    ASSERT_TRUE(image.has_value()) << image.error().context;
    reader_ = std::make_unique<FileReader>(*image, context_, FileReader::Options{});
  }
  InodeNumber File(const std::string& path) const {
    return ResolvePath(reader_->image().tree(), path, false).value();
  }
  // Whether it is in the cache, before long.
  bool IsCached(const ObjectId& chunk) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (cache_->FindWhole(chunk) == nullptr) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  Descriptor Write(ImageWriter& writer, ByteSpan content, const char* type) {
    const std::string file = directory_.Write("blob", AsText(content));
    const UniqueFd fd = OpenFile(file, O_RDONLY).value();
    Descriptor descriptor;
    descriptor.media_type = type;
    descriptor.digest = Digest::Of(content);
    descriptor.size = content.size();
    EXPECT_TRUE(
        writer.WriteBlob(descriptor.digest, content.size(), fd.get(), [](uint64_t) {}).has_value());
    return descriptor;
  }

  TempDir directory_;
  ImageStores stores_{StoreOptions{}};
  Scheduler scheduler_{Scheduler::Options{}};
  std::shared_ptr<ObjectCache> cache_ =
      ObjectCache::Open({.directory = directory_ / "cache"}).value();
  ImageContext context_{stores_, scheduler_, cache_};
  std::unique_ptr<FileReader> reader_;
  InodeNumber file_{0};
};

TEST_F(FileReaderTest, ReadAcrossSegmentsIsTheFile) {
  Open(64 * 1024);
  const Bytes got = reader_->ReadAndWait(file_, 0, kFileBytes).value();
  EXPECT_TRUE(AsText(got) == FileContent());
}

TEST_F(FileReaderTest, FirstReadInTheMiddleAsksOnceForSegmentsAndOnceForItsChunk) {
  Open(64 * 1024);
  const uint64_t before = scheduler_.Statistics().requests;
  const size_t middle = kFileBytes / 2;
  const Bytes got = reader_->ReadAndWait(file_, middle, 4096).value();
  EXPECT_TRUE(AsText(got) == FileContent().substr(middle, 4096));
  EXPECT_EQ(scheduler_.Statistics().requests - before, 2U);
}

TEST_F(FileReaderTest, ReadsThatForgetSegmentsOfEarlierOnesAreTheFile) {
  Open(4096);  // 257 segments, of which the map keeps 64
  const std::string content = FileContent();
  for (int round = 0; round < 2; ++round) {
    for (size_t offset = 0; offset < kFileBytes; offset += 64 * 1024) {
      const Bytes got = reader_->ReadAndWait(file_, offset, 64 * 1024).value();
      ASSERT_TRUE(AsText(got) == content.substr(offset, 64 * 1024)) << offset;
    }
  }
}

TEST_F(FileReaderTest, ReadOverMoreSegmentsThanAWriterMakesIsAnErrorAndEnds) {
  Open(4096);
  const auto got = reader_->ReadAndWait(file_, 0, kFileBytes);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, ErrorCode::kCorrupt);
}

TEST_F(FileReaderTest, BlobThatIsGoneIsAnIoErrorOfTheFileThatIsThere) {
  Open(4096);
  std::filesystem::remove_all(directory_ / "image");
  const auto read = reader_->ReadAndWait(file_, 0, 4096);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(ErrnoOf(read.error()), EIO) << read.error().context;
}

TEST_F(FileReaderTest, ReadPastTheEndIsShort) {
  Open(64 * 1024);
  EXPECT_EQ(reader_->ReadAndWait(file_, kFileBytes - 10, 4096).value().size(), 10u);
  EXPECT_TRUE(reader_->ReadAndWait(file_, kFileBytes, 4096).value().empty());
}

// Sixty files of 16 KiB in chunks of 64 KiB.
class SmallFilesTest : public FileReaderTest {
 protected:
  static constexpr size_t kFiles = 60;
  static constexpr size_t kSmallBytes = 16 * 1024;
  void SetUp() override {
    TarWriter tar;
    for (size_t i = 0; i < kFiles; ++i) {
      tar.File("file" + std::to_string(i), FileContent().substr(i * 1000, kSmallBytes));
    }
    layer_ = ForgeLayer(tar.Finish(), 64 * 1024);
    OpenLayer(layer_);
  }
  void ReadFile(size_t i) {
    const auto got = reader_->ReadAndWait(File("file" + std::to_string(i)), 0, kSmallBytes);
    ASSERT_TRUE(got.has_value());
    EXPECT_TRUE(AsText(*got) == FileContent().substr(i * 1000, kSmallBytes)) << i;
  }
  ForgedLayer layer_;
};

TEST_F(SmallFilesTest, ReaderInOrderHasTheNextOnesFetchedAhead) {
  for (size_t i = 0; i < 8; ++i) ReadFile(i);
  // The eighth ends in the third chunk.
  EXPECT_TRUE(IsCached(layer_.chunks[3]));
  EXPECT_TRUE(IsCached(layer_.chunks[4]));
  for (size_t i = 8; i < kFiles; ++i) ReadFile(i);
}

TEST_F(SmallFilesTest, ReaderInAnotherOrderGetsWhatItReads) {
  for (size_t i = kFiles; i > 0; i -= 6) ReadFile(i - 1);
  // Every sixth file, each in one or two chunks of its own: what was fetched is what was read.
  uint64_t wanted = 0;
  for (size_t i = kFiles; i > 0; i -= 6) {
    const Inode inode = reader_->image().tree().Get(File("file" + std::to_string(i - 1)));
    wanted +=
        (inode.data_offset + inode.size - 1) / (64 * 1024) - inode.data_offset / (64 * 1024) + 1;
  }
  uint64_t cached = 0;
  for (const ObjectId& chunk : layer_.chunks) cached += cache_->FindWhole(chunk) != nullptr ? 1 : 0;
  EXPECT_EQ(cached, wanted);
}

}  // namespace
}  // namespace layerfs

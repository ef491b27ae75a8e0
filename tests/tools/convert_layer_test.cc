// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "index/tar_parser.h"
#include "tests/index/tar_writer.h"
#include "tests/tools/converted_layer.h"
#include "tools/convert/layer_converter.h"
#include "tools/convert/tar_chunker.h"

namespace layerfs {
namespace {

using testing::HasSubstr;

std::string RandomText(std::mt19937& random, size_t size) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 7);
  return text;
}

// A PAX record of `size` bytes, from 100 to 9,999.
std::string PaxComment(size_t size) {
  std::string record = std::to_string(size) + " comment=";
  record.resize(size - 1, 'c');
  return record + "\n";
}

// Directories of files of all sizes around the policy's bounds.
struct MixedTar {
  std::map<std::string, std::string> files;  // non-sparse
  Bytes tar;
};
MixedTar MakeMixedTar() {
  std::mt19937 random(7);
  MixedTar mixed;
  TarWriter writer;
  const size_t sizes[] = {0, 1, 511, 512, 513, 4000, 8191, 8192, 11999, 12000, 12001, 16384, 70000};
  for (int directory = 0; directory < 40; ++directory) {
    const std::string name = "dir" + std::to_string(directory);
    writer.Directory(name);
    for (int i = 0; i < 12; ++i) {
      const std::string path = name + "/file" + std::to_string(i);
      // Mostly small files, as in images.
      const size_t size = i < 9 ? random() % 3000 : sizes[random() % std::size(sizes)];
      const std::string content = RandomText(random, size);
      writer.File(path, content);
      mixed.files[path] = content;
    }
  }
  writer.Symlink("link", "dir0/file0").HardLink("hard", "dir0/file9");
  writer.SparsePax10("sparse", 200000, {{4096, std::string(20480, 's')}, {150000, "end"}});
  mixed.tar = writer.Finish();
  return mixed;
}

Result<ConvertedLayer> Convert(const Bytes& blob, int threads = 2, size_t piece = 1 << 20,
                               ChunkPolicy policy = SmallPolicy()) {
  CompressionPool pool(threads, policy.level, policy.compression);
  return ConvertLayer(ReaderOf(blob, piece), {policy, uint64_t{1} << 20, "", &pool});
}

Bytes ConvertToBlob(const Bytes& blob, int threads = 2, size_t piece = 1 << 20) {
  const Result<ConvertedLayer> layer = Convert(blob, threads, piece);
  EXPECT_TRUE(layer.has_value()) << layer.error().context;
  if (!layer.has_value()) return {};
  Bytes converted = ReadSpool(layer->spool);
  EXPECT_EQ(Digest::Of(converted), layer->digest);
  EXPECT_EQ(Digest::Of(blob), layer->diff_id);
  return converted;
}

TEST(ConvertLayer, DecodesToTheVeryTar) {
  const MixedTar mixed = MakeMixedTar();
  const Result<Bytes> decoded = DecodeWhole(ConvertToBlob(mixed.tar));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().context;
  EXPECT_EQ(*decoded, mixed.tar);
}

TEST(ConvertLayer, GivesTheSameBytesOnAnyNumberOfThreadsAndForAnyReadSize) {
  const Bytes tar = MakeMixedTar().tar;
  const Bytes expected = ConvertToBlob(tar, 1);
  for (const int threads : {2, 8}) {
    for (const size_t piece : {size_t{1}, size_t{511}, size_t{513}, size_t{70001}, tar.size()}) {
      EXPECT_EQ(ConvertToBlob(tar, threads, piece), expected)
          << threads << " threads, pieces of " << piece;
    }
  }
}

ChunkPolicy GzipPolicy() {
  ChunkPolicy policy = SmallPolicy();
  policy.compression = LayerCompression::kGzip;
  policy.level = 6;
  return policy;
}

TEST(ConvertLayer, AsGzipDecodesToTheVeryTarAndReadsThroughTheChunkTable) {
  const MixedTar mixed = MakeMixedTar();
  const Result<ConvertedLayer> converted = Convert(mixed.tar, 2, 1 << 20, GzipPolicy());
  ASSERT_TRUE(converted.has_value()) << converted.error().context;
  const Bytes blob = ReadSpool(converted->spool);
  const Result<Bytes> decoded = DecodeWholeGzip(blob);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().context;
  EXPECT_EQ(*decoded, mixed.tar);
  const OpenedLayer layer = OpenedLayer::Open(blob);
  ASSERT_TRUE(layer.index.has_value());
  EXPECT_EQ(layer.index_ref, converted->index);
  for (const Chunk& chunk : layer.Chunks()) EXPECT_EQ(chunk.ref.codec, ChunkCodec::kGzipMember);
  for (const auto& [path, content] : mixed.files) {
    const Inode inode = layer.index->Get(*ResolvePath(*layer.index, path, false));
    EXPECT_EQ(AsText(layer.ReadTar(inode.data_offset, inode.size)), content) << path;
  }
}

TEST(ConvertLayer, AsGzipGivesTheSameBytesOnAnyNumberOfThreads) {
  const Bytes tar = MakeMixedTar().tar;
  const Result<ConvertedLayer> one = Convert(tar, 1, 1 << 20, GzipPolicy());
  const Result<ConvertedLayer> eight = Convert(tar, 8, 511, GzipPolicy());
  ASSERT_TRUE(one.has_value() && eight.has_value());
  EXPECT_EQ(one->digest, eight->digest);
}

// Names that do not compress make an index that no single hidden member can hold.
TEST(ConvertLayer, AsGzipHidesAnIndexOfManyMembers) {
  std::mt19937 random(3);
  TarWriter writer;
  std::vector<std::string> names;
  for (int i = 0; i < 4000; ++i) {
    std::string name(90, '\0');
    for (char& c : name) c = static_cast<char>('!' + random() % 90);
    std::ranges::replace(name, '/', '_');
    names.push_back(name);
    writer.File(name, "");
  }
  const Bytes tar = writer.Finish();
  const Result<ConvertedLayer> converted = Convert(tar, 2, 1 << 20, GzipPolicy());
  ASSERT_TRUE(converted.has_value()) << converted.error().context;
  EXPECT_GT(converted->index.stored_size, 3 * 65536U);
  const Bytes blob = ReadSpool(converted->spool);
  const Result<Bytes> decoded = DecodeWholeGzip(blob);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().context;
  EXPECT_EQ(*decoded, tar);
  const OpenedLayer layer = OpenedLayer::Open(blob);
  ASSERT_TRUE(layer.index.has_value());
  for (const std::string& name : names) {
    EXPECT_TRUE(ResolvePath(*layer.index, name, false).has_value()) << name;
  }
}

TEST(ConvertLayer, EveryFileReadsThroughTheChunkTableAsItStoodInTheTar) {
  const MixedTar mixed = MakeMixedTar();
  const OpenedLayer layer = OpenedLayer::Open(ConvertToBlob(mixed.tar));
  ASSERT_TRUE(layer.index.has_value());
  size_t seen = 0;
  for (const auto& [path, content] : mixed.files) {
    const auto inode = ResolvePath(*layer.index, path, false);
    ASSERT_TRUE(inode.has_value()) << path;
    const Inode attributes = layer.index->Get(*inode);
    ASSERT_EQ(attributes.size, content.size());
    EXPECT_EQ(AsText(layer.ReadTar(attributes.data_offset, attributes.size)), content) << path;
    ++seen;
  }
  EXPECT_EQ(seen, mixed.files.size());
}

TEST(ConvertLayer, ChunksAdjoinInBlobAndTarAndCoverTheTar) {
  const MixedTar mixed = MakeMixedTar();
  const OpenedLayer layer = OpenedLayer::Open(ConvertToBlob(mixed.tar));
  uint64_t tar_offset = 0;
  uint64_t blob_offset = 0;
  for (const Chunk& chunk : layer.Chunks()) {
    EXPECT_EQ(chunk.tar_offset, tar_offset);
    EXPECT_EQ(chunk.ref.blob_offset, blob_offset);
    EXPECT_LE(chunk.ref.size, SmallPolicy().group_max);
    tar_offset += chunk.ref.size;
    blob_offset += chunk.ref.stored_size;
  }
  EXPECT_EQ(tar_offset, mixed.tar.size());
  ASSERT_EQ(layer.index->layers().size(), 1U);
  EXPECT_EQ(layer.index->layers()[0].tar_size, mixed.tar.size());
  EXPECT_EQ(layer.index->layers()[0].diff_id, Digest::Of(mixed.tar));
}

TEST(ConvertLayer, LargeFilesHaveChunksOfTheirOwnAndAContentDigest) {
  const MixedTar mixed = MakeMixedTar();
  const OpenedLayer layer = OpenedLayer::Open(ConvertToBlob(mixed.tar));
  const std::vector<Chunk> chunks = layer.Chunks();
  std::map<uint64_t, Content> contents;
  for (const Content& content : layer.Contents()) contents[content.tar_offset] = content;
  size_t large = 0;
  for (const auto& [path, content] : mixed.files) {
    const Inode inode = layer.index->Get(*ResolvePath(*layer.index, path, false));
    const auto found = contents.find(inode.data_offset);
    if (content.size() < SmallPolicy().own_chunk_size) {
      EXPECT_EQ(found, contents.end()) << path;
      continue;
    }
    ++large;
    ASSERT_NE(found, contents.end()) << path;
    EXPECT_EQ(found->second.size, content.size());
    EXPECT_EQ(found->second.digest, Digest::Of(AsBytes(content)));
    // Its chunks begin and end with it, cut at whole chunk sizes.
    auto chunk = std::ranges::find(chunks, inode.data_offset, &Chunk::tar_offset);
    for (uint64_t at = 0; at < content.size(); at += chunk++->ref.size) {
      ASSERT_NE(chunk, chunks.end());
      EXPECT_EQ(chunk->ref.size, std::min<uint64_t>(SmallPolicy().chunk_size, content.size() - at));
    }
  }
  EXPECT_EQ(contents.size(), large);
  EXPECT_GT(large, 10U);
}

TEST(ConvertLayer, SharedChunksAreCutAtHeadersOnly) {
  const MixedTar mixed = MakeMixedTar();
  const OpenedLayer layer = OpenedLayer::Open(ConvertToBlob(mixed.tar));
  std::set<uint64_t> allowed = {0};
  TarParser parser([&](TarEntry&& entry) -> Status {
    allowed.insert(entry.header_offset);
    if (entry.data_size < SmallPolicy().own_chunk_size) return {};
    const uint64_t end = entry.data_offset + entry.data_size;
    for (uint64_t at = entry.data_offset; at < end; at += SmallPolicy().chunk_size) {
      allowed.insert(at);
    }
    allowed.insert(end);
    return {};
  });
  ASSERT_TRUE(parser.Feed(mixed.tar).has_value());
  for (const Chunk& chunk : layer.Chunks()) EXPECT_TRUE(allowed.contains(chunk.tar_offset));
}

// Small files only: nothing but the hashes brings the groups back into step.
Bytes MakeSmallFilesTar(int directories, const std::string& added) {
  std::mt19937 random(3);
  TarWriter writer;
  for (int i = 0; i < 1200; ++i) {
    const std::string directory = "dir" + std::to_string(i / (1200 / directories));
    if (i % (1200 / directories) == 0) writer.Directory(directory);
    const std::string path = directory + "/file" + std::to_string(i);
    writer.File(path, RandomText(random, random() % 1500) + (i == 5 ? added : ""));
  }
  return writer.Finish();
}

TEST(ConvertLayer, OneChangedFileMovesOnlyTheCutsAroundIt) {
  for (const int directories : {1, 40}) {
    const Bytes before = MakeSmallFilesTar(directories, "");
    const Bytes after = MakeSmallFilesTar(directories, std::string(5000, 'x'));
    ASSERT_NE(before.size(), after.size());
    std::set<Digest> known;
    const OpenedLayer old_layer = OpenedLayer::Open(ConvertToBlob(before));
    for (const Chunk& chunk : old_layer.Chunks()) known.insert(chunk.ref.digest);
    uint64_t moved_bytes = 0;
    const OpenedLayer new_layer = OpenedLayer::Open(ConvertToBlob(after));
    for (const Chunk& chunk : new_layer.Chunks()) {
      if (!known.contains(chunk.ref.digest)) moved_bytes += chunk.ref.size;
    }
    EXPECT_GT(moved_bytes, 0U);
    // A few groups of some fifty.
    EXPECT_LT(moved_bytes, 6 * SmallPolicy().group_max) << directories << " directories";
    EXPECT_GT(before.size(), 40 * SmallPolicy().group_max);
  }
}

TEST(ConvertLayer, SparseRunsAreReadAndHaveNoContentDigest) {
  std::string data(50000, 'd');
  const Bytes tar =
      TarWriter().SparsePax10("sparse", 1 << 20, {{8192, data}}).File("next", "n").Finish();
  const OpenedLayer layer = OpenedLayer::Open(ConvertToBlob(tar));
  EXPECT_TRUE(layer.Contents().empty());
  EXPECT_GT(layer.Chunks().size(), 6U);
  const InodeNumber inode = *ResolvePath(*layer.index, "sparse", false);
  const std::vector<DataExtent> extents = layer.index->DataExtents(inode, 0, 1 << 20);
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(AsText(layer.ReadTar(extents[0].tar_offset, extents[0].size)), data);
}

TEST(ConvertLayer, TakesTarsThatAreHardlyThere) {
  const struct {
    const char* name;
    Bytes tar;
  } kRows[] = {
      {"nothing", {}},
      {"end marker", TarWriter().Finish()},
      {"no end marker", TarWriter().File("a", "b").WithoutEndMarker()},
      {"long padding", TarWriter().File("a", "b").Raw(std::string(100000, '\0')).Finish()},
  };
  for (const auto& row : kRows) {
    const Bytes blob = ConvertToBlob(row.tar);
    const Result<Bytes> decoded = DecodeWhole(blob);
    ASSERT_TRUE(decoded.has_value()) << row.name;
    EXPECT_EQ(*decoded, row.tar) << row.name;
    EXPECT_TRUE(OpenedLayer::Open(blob).index.has_value()) << row.name;
  }
}

TEST(ConvertLayer, HeadersLargerThanAGroupAreCut) {
  const std::string value(60000, 'v');
  const Bytes tar =
      TarWriter().Add({.path = "a", .xattrs = {{"user.b", value}, {"user.c", value}}}).Finish();
  const OpenedLayer layer = OpenedLayer::Open(ConvertToBlob(tar));
  for (const Chunk& chunk : layer.Chunks()) EXPECT_LE(chunk.ref.size, SmallPolicy().group_max);
}

// Global PAX headers say nothing about files, and a tar may have any number of them.
TEST(ConvertLayer, HeadersWithoutAnEntryAreCutAsTheyComeAndAtTheSamePlaces) {
  TarWriter writer;
  writer.File("before", std::string(100, 'b'));
  for (int i = 0; i < 300; ++i) writer.Add({.path = "g", .type = 'g', .content = PaxComment(1000)});
  writer.File("behind", std::string(100, 'a'));
  Bytes tar = writer.Finish();
  tar.resize(tar.size() + 20 * size_t{SmallPolicy().group_max});  // zeros behind the end marker
  const Bytes expected = ConvertToBlob(tar, 1);
  for (const size_t piece : {size_t{512}, size_t{777}, size_t{60000}}) {
    EXPECT_EQ(ConvertToBlob(tar, 2, piece), expected) << piece << " bytes a read";
  }
  EXPECT_EQ(DecodeWhole(expected).value_or(Bytes()), tar);

  size_t chunks = 0;
  BufferPool buffers(0);
  TarChunker chunker(SmallPolicy(), buffers, [&](TarChunk&&) -> Status {
    ++chunks;
    return {};
  });
  ASSERT_TRUE(chunker.Feed(Bytes(100 * size_t{SmallPolicy().group_max})).has_value());
  EXPECT_GE(chunks, 95) << "what belongs to no entry is held back";
}

TEST(ConvertLayer, ConvertsAConvertedLayerToTheSameBytes) {
  const Bytes tar = MakeMixedTar().tar;
  const Bytes once = ConvertToBlob(tar);
  const Result<ConvertedLayer> twice = Convert(once);
  ASSERT_TRUE(twice.has_value()) << twice.error().context;
  EXPECT_EQ(ReadSpool(twice->spool), once);
}

TEST(ConvertLayer, HostileLayersEndInAnErrorThatNamesTheOffset) {
  const Bytes good = MakeMixedTar().tar;
  Bytes bad_checksum = good;
  bad_checksum[148] ^= 1;
  const Bytes payload = TarWriter().File("a", std::string(3000, 'p')).Finish();
  const Bytes converted = ConvertToBlob(good);
  const Bytes cut_zstd(converted.begin(), converted.begin() + 1000);
  const struct {
    const char* name;
    Bytes blob;
    const char* words;
  } kRows[] = {
      {"header checksum", bad_checksum, "tar offset 0"},
      {"cut inside a payload", Bytes(payload.begin(), payload.begin() + 2000), "tar offset 2000"},
      {"cut zstd", cut_zstd, "offset"},
      {"dot dot", TarWriter().File("a/../../b", "x").Finish(), "tar offset 0"},
      {"bare whiteout", TarWriter().File("a/.wh.", "").Finish(), "tar offset 0"},
  };
  for (const auto& row : kRows) {
    const Result<ConvertedLayer> layer = Convert(row.blob);
    ASSERT_FALSE(layer.has_value()) << row.name;
    EXPECT_THAT(layer.error().context, HasSubstr(row.words)) << row.name;
  }
}

TEST(ConvertLayer, AnErrorOfTheReaderComesBack) {
  const Bytes tar = MakeMixedTar().tar;
  CompressionPool pool(2, SmallPolicy().level);
  const BlobReader broken = [&](const BlobConsumer& consume) -> Status {
    LAYERFS_CHECK_OK(consume(ByteSpan(tar).first(tar.size() / 2)));
    return Fail(ErrorCode::kNetwork, "the line is dead");
  };
  const auto layer = ConvertLayer(broken, {SmallPolicy(), 1 << 20, "", &pool});
  ASSERT_FALSE(layer.has_value());
  EXPECT_EQ(layer.error().code, ErrorCode::kNetwork);
}

TEST(ConvertLayer, AMissingSpoolDirectoryIsNamed) {
  CompressionPool pool(2, SmallPolicy().level);
  const Bytes tar = MakeMixedTar().tar;
  const auto layer =
      ConvertLayer(ReaderOf(tar), {SmallPolicy(), 1 << 20, "/nonexistent/directory", &pool});
  ASSERT_FALSE(layer.has_value());
  EXPECT_THAT(layer.error().context, HasSubstr("/nonexistent/directory"));
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Golden files: what writers of version 1 make, byte for byte and as text. A difference here is a
// change of the format, and needs a new version (FORMAT.md, "Versions and features").
#include "index/index_dump.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "index/base/file.h"
#include "index/index_codec.h"
#include "index/index_writer.h"
#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

constexpr uint64_t kMaxGoldenBytes = 1 << 20;

std::string GoldenPath(const std::string& name) {
  return std::string(LAYERFS_GOLDEN_DIR) + "/v1/" + name;
}

std::string Dump(const Index& index, std::span<const ChunkTableSegment> segments = {}) {
  std::string text;
  EXPECT_TRUE(DumpIndex(index, segments, [&](std::string_view line) -> Status {
                text.append(line) += '\n';
                return {};
              }).has_value());
  return text;
}

// The golden bytes; where LAYERFS_WRITE_GOLDEN is set, after writing them.
Bytes Golden(const std::string& name, ByteSpan made) {
  if (std::getenv("LAYERFS_WRITE_GOLDEN") != nullptr) {
    EXPECT_TRUE(WriteFileAtomically(GoldenPath(name), made).has_value());
  }
  auto golden = ReadFile(GoldenPath(name), kMaxGoldenBytes);
  EXPECT_TRUE(golden.has_value()) << golden.error().context;
  return golden.value_or(Bytes{});
}

TEST(GoldenTest, WritersMakeVersion1) {
  EXPECT_EQ(SampleTree(), Golden("tree.index", SampleTree()));
  EXPECT_EQ(SampleLayer(), Golden("layer.index", SampleLayer()));
  const Bytes segment = ChunkTableSegment::Encode(SampleChunks(), SampleContents());
  EXPECT_EQ(segment, Golden("segment", segment));
  const Bytes arranged = EncodeIndex(SampleTree()).value();
  EXPECT_EQ(arranged, Golden("tree.arranged", arranged));
}

TEST(GoldenTest, Version1IsRead) {
  const auto tree = Index::Open(ReadFile(GoldenPath("tree.index"), kMaxGoldenBytes).value());
  ASSERT_TRUE(tree.has_value()) << tree.error().context;
  const std::string tree_text = Dump(*tree);
  EXPECT_EQ(tree_text, AsText(Golden("tree.txt", AsBytes(tree_text))));

  const auto layer = Index::Open(ReadFile(GoldenPath("layer.index"), kMaxGoldenBytes).value());
  ASSERT_TRUE(layer.has_value()) << layer.error().context;
  auto segment = ChunkTableSegment::Open(ReadFile(GoldenPath("segment"), kMaxGoldenBytes).value(),
                                         SampleSegmentRef());
  ASSERT_TRUE(segment.has_value()) << segment.error().context;
  const std::string layer_text = Dump(*layer, {&*segment, 1});
  EXPECT_EQ(layer_text, AsText(Golden("layer.txt", AsBytes(layer_text))));

  const Bytes arranged = ReadFile(GoldenPath("tree.arranged"), kMaxGoldenBytes).value();
  EXPECT_TRUE(std::ranges::equal(DecodeIndex(arranged).value(), tree->bytes()));
}

TEST(IndexDumpTest, EqualTreesDumpEquallyWhateverTheirNumbering) {
  const auto make = [](bool swapped) {
    IndexWriter writer(IndexKind::kTree);
    Inode directory;
    directory.mode = 0040755;
    directory.nlink = 2;
    Inode file;
    file.mode = 0100644;
    file.nlink = 1;
    const InodeNumber root = writer.AddInode({.inode = directory});
    const InodeNumber first = writer.AddInode({.inode = file});
    const InodeNumber second = writer.AddInode({.inode = file});
    writer.SetEntries(root, std::vector<Dirent>{{"a", swapped ? second : first},
                                                {"b", swapped ? first : second}});
    return std::move(writer).Finish({}, {}).value();
  };
  ASSERT_NE(make(false), make(true));
  EXPECT_EQ(Dump(Index::Open(make(false)).value()), Dump(Index::Open(make(true)).value()));
}

TEST(IndexDumpTest, AnErrorOfTheSinkEndsTheDump) {
  const Index index = Index::Open(SampleTree()).value();
  int lines = 0;
  const Status status = DumpIndex(index, {}, [&](std::string_view) -> Status {
    if (++lines == 3) return Fail(ErrorCode::kIo, "full");
    return {};
  });
  EXPECT_EQ(status.error().context, "full");
  EXPECT_EQ(lines, 3);
}

}  // namespace
}  // namespace layerfs

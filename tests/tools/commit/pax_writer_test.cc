// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/pax_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "index/base/digest.h"
#include "tests/index/tar_parse_helper.h"

namespace layerfs {
namespace {

constexpr char kGoldenDigest[] = "ab174bfa3149f1d156bbf7c8d8ca584d80dcc8f9c1b07602f0dc0dfbddd51a05";

LayerEntry Entry(const std::string& path, EntryType type, uint32_t mode) {
  LayerEntry entry;
  entry.path = path;
  entry.type = type;
  entry.mode = mode;
  entry.mtime = {1'700'000'000, 0};
  return entry;
}

LayerEntry File(const std::string& path, uint64_t size) {
  LayerEntry entry = Entry(path, EntryType::kFile, S_IFREG | 0644);
  entry.size = size;
  return entry;
}

// The tar of one entry with these bytes.
Bytes Write(const LayerEntry& entry, std::string_view data = "", const DataRuns* runs = nullptr) {
  Bytes tar;
  PaxWriter writer([&tar](ByteSpan bytes) {
    tar.insert(tar.end(), bytes.begin(), bytes.end());
    return Status();
  });
  EXPECT_TRUE(writer.Begin(entry, runs).has_value());
  EXPECT_TRUE(writer.WriteData(AsBytes(data)).has_value());
  EXPECT_TRUE(writer.Finish().has_value());
  EXPECT_EQ(tar.size() % 512, 0U);
  return tar;
}

TarEntry ReadBack(const Bytes& tar) {
  auto entries = ParseTar(tar);
  EXPECT_TRUE(entries.has_value()) << (entries.has_value() ? "" : entries.error().context);
  if (!entries.has_value() || entries->size() != 1) return {};
  return entries->front();
}

TEST(PaxWriter, NamesOfEveryLengthComeBack) {
  for (const size_t size : {1, 99, 100, 101, 155, 156, 200, 255}) {
    for (const bool deep : {false, true}) {
      const std::string name = deep ? "a/bc/" + std::string(100, 'd') + "/" + std::string(size, 'n')
                                    : std::string(size, 'n');
      const TarEntry entry = ReadBack(Write(File(name, 0)));
      EXPECT_EQ(entry.path, name) << size;
    }
  }
}

TEST(PaxWriter, AllThatALayerCarriesComesBack) {
  LayerEntry file = File("dir/file", 5);
  file.mode = S_IFREG | 04755;
  file.uid = 3'000'000'000;
  file.gid = 7;
  file.mtime = {-2, 250'000'000};
  file.xattrs = {{"user.note", std::string("\0\n=x", 4)}, {"security.capability", "\x01\x02"}};
  const TarEntry entry = ReadBack(Write(file, "hello"));
  EXPECT_EQ(entry.permissions, 04755U);
  EXPECT_EQ(entry.uid, 3'000'000'000U);
  EXPECT_EQ(entry.gid, 7U);
  EXPECT_EQ(entry.mtime, file.mtime);
  EXPECT_EQ(entry.size, 5U);
  ASSERT_EQ(entry.xattrs.size(), 2U);
  for (const auto& [name, value] : entry.xattrs) EXPECT_EQ(value, file.xattrs.at(name)) << name;
}

TEST(PaxWriter, LinksAndDevicesComeBack) {
  LayerEntry symlink = Entry("s", EntryType::kSymlink, S_IFLNK | 0777);
  symlink.target = std::string(4000, 't');
  EXPECT_EQ(ReadBack(Write(symlink)).link_target, symlink.target);
  LayerEntry link = Entry("l", EntryType::kHardLink, S_IFREG | 0644);
  link.target = "dir/" + std::string(150, 'h');
  EXPECT_EQ(ReadBack(Write(link)).link_target, link.target);
  LayerEntry device = Entry("d", EntryType::kNode, S_IFBLK | 0600);
  device.device = makedev(259, 1'000'000);
  EXPECT_EQ(ReadBack(Write(device)).rdev, device.device);
}

TEST(PaxWriter, WhiteoutsAreMarkersWithoutAttributes) {
  LayerEntry whiteout = Entry("a/b", EntryType::kWhiteout, S_IFREG | 0644);
  const Bytes tar = Write(whiteout);
  EXPECT_EQ(AsText(tar).substr(0, 8), std::string_view("a/.wh.b\0", 8));
  const Bytes opaque = Write(Entry("a", EntryType::kOpaque, 0));
  EXPECT_EQ(AsText(opaque).substr(0, 15), std::string_view("a/.wh..wh..opq\0", 15));
  EXPECT_EQ(AsText(Write(Entry("", EntryType::kDirectory, S_IFDIR | 0755))).substr(0, 3),
            std::string_view("./\0", 3));
}

TEST(PaxWriter, SparseFilesComeBackWithTheirHoles) {
  const uint64_t size = uint64_t{6} << 30;
  const DataRuns runs = {{4096, 3}, {uint64_t{5} << 30, 2}, {size, 0}};
  const TarEntry entry = ReadBack(Write(File("sparse", size), "abcde", &runs));
  EXPECT_EQ(entry.path, "sparse");
  EXPECT_EQ(entry.size, size);
  ASSERT_EQ(entry.extents.size(), 2U);
  EXPECT_EQ(entry.extents[0].file_offset, 4096U);
  EXPECT_EQ(entry.extents[0].size, 3U);
  EXPECT_EQ(entry.extents[1].file_offset, uint64_t{5} << 30);
}

TEST(PaxWriter, RefusesBytesThatAreNotTheFiles) {
  PaxWriter writer([](ByteSpan) { return Status(); });
  ASSERT_TRUE(writer.Begin(File("f", 3)).has_value());
  EXPECT_FALSE(writer.WriteData(AsBytes("four")).has_value());
  ASSERT_TRUE(writer.WriteData(AsBytes("ab")).has_value());
  EXPECT_FALSE(writer.Finish().has_value());
}

// The same bytes for ever: a layer's digest depends on them.
TEST(PaxWriter, BytesAreThoseOfTheFirstVersion) {
  LayerEntry file = File("dir/" + std::string(120, 'x'), 3);
  file.mtime = {1'700'000'000, 120'000'000};
  file.xattrs = {{"user.b", "2"}, {"user.a", "1"}};
  EXPECT_EQ(Digest::Of(Write(file, "abc")), Digest::Of(Write(file, "abc")));
  EXPECT_EQ(Digest::Of(Write(file, "abc")).Hex(), kGoldenDigest);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/commit/layer_changes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "fs/overlay_marks.h"
#include "tests/fetch/temp_dir.h"
#include "tests/index/layer_stack.h"

namespace layerfs {
namespace {

// An image of a few files, and a container layer whose upper directory the test fills by hand, as a
// mount would.
class LayerChangesTest : public testing::Test {
 protected:
  void SetUp() override {
    TarWriter tar;
    tar.Directory("bin").Directory("etc").Directory("var").Directory("var/lib").Directory(
        "var/lib/app");
    tar.File("bin/tool", "tool").File("etc/passwd", "root").File("etc/issue", "hello");
    tar.File("var/lib/app/one", "1").File("var/lib/app/two", "2");
    tar.HardLink("bin/link", "bin/tool").HardLink("etc/other", "bin/tool");
    const std::vector<Bytes> tars = {tar.Finish()};
    auto tree = MergeTars(tars);
    ASSERT_TRUE(tree.has_value()) << tree.error().context;
    tree_.emplace(std::move(*tree));
    LayerBinding binding;
    binding.manifest = Digest::Of(AsBytes("manifest"));
    binding.reference = "oci:/nowhere";
    auto layer = ContainerLayer::Open(directory_ / "layer", binding);
    ASSERT_TRUE(layer.has_value()) << layer.error().context;
    layer_.emplace(std::move(*layer));
    // As the image's root is, so that it is no change.
    ASSERT_EQ(::fchmod(layer_->upper(), tree_->Get(kRootInode).mode & 07777), 0);
    CopyTimes("", kRootInode);
  }

  InodeNumber Find(std::string_view path) const { return *ResolvePath(*tree_, path, false); }
  std::string Upper(const std::string& path) const { return directory_ / ("layer/upper/" + path); }
  void CopyTimes(const std::string& path, InodeNumber inode) const {
    const Timestamp mtime = tree_->Get(inode).mtime;
    const timespec times[2] = {{0, UTIME_OMIT},
                               {mtime.seconds, static_cast<long>(mtime.nanoseconds)}};
    ASSERT_EQ(::utimensat(AT_FDCWD, Upper(path).c_str(), times, 0), 0);
  }
  // A directory of the image as copy-up leaves it.
  void CopyUpDirectory(const std::string& path) const {
    ASSERT_EQ(::mkdir(Upper(path).c_str(), 0755), 0);
    ASSERT_EQ(::chmod(Upper(path).c_str(), tree_->Get(Find(path)).mode & 07777), 0);
    CopyTimes(path, Find(path));
  }
  void Mark(const std::string& path, const char* mark, std::string_view value) const {
    ASSERT_TRUE(WriteXattr({Upper(path), false}, layer_->form().Overlay(mark), value).has_value());
  }
  void Whiteout(const std::string& path) const {
    if (layer_->form().devices) {
      ASSERT_EQ(::mknod(Upper(path).c_str(), S_IFCHR, 0), 0);
      return;
    }
    WriteFile(path, "");
    Mark(path, "whiteout", "");
    Mark(path.substr(0, path.rfind('/')), "opaque", "x");
  }
  void WriteFile(const std::string& path, std::string_view content) const {
    directory_.Write("layer/upper/" + path, content);
  }

  // "A dir/", "C file", "D name", "W whiteout" (both D and in the tar), "O opaque", "C link =>
  // first"
  std::vector<std::string> Changes() const {
    CopyTimes("", kRootInode);
    const auto changes = ReadLayerChanges(*layer_, &*tree_);
    EXPECT_TRUE(changes.has_value()) << changes.error().context;
    std::vector<std::string> lines;
    if (!changes.has_value()) return lines;
    for (const LayerEntry& entry : changes->entries) {
      if (!entry.in_tar && !entry.in_diff) continue;
      std::string line = entry.change == ChangeKind::kAdded ? "A " : "C ";
      if (entry.change == ChangeKind::kDeleted) line = entry.in_tar ? "W " : "D ";
      if (entry.type == EntryType::kOpaque) line = "O ";
      line += entry.path;
      if (entry.type == EntryType::kDirectory) line += "/";
      if (entry.type == EntryType::kHardLink) line += " => " + entry.target;
      lines.push_back(line);
    }
    return lines;
  }

  using Lines = std::vector<std::string>;
  TempDir directory_;
  std::optional<Index> tree_;
  std::optional<ContainerLayer> layer_;
};

TEST_F(LayerChangesTest, UntouchedLayerChangesNothing) { EXPECT_EQ(Changes(), Lines{}); }

TEST_F(LayerChangesTest, DirectoriesThatWereOnlyCopiedUpAreNoChange) {
  CopyUpDirectory("etc");
  CopyUpDirectory("var");
  CopyUpDirectory("var/lib");
  CopyTimes("var", Find("var"));
  EXPECT_EQ(Changes(), Lines{});
}

TEST_F(LayerChangesTest, DirectoryWithOtherMetadataIsAChange) {
  CopyUpDirectory("etc");
  ASSERT_EQ(::chmod(Upper("etc").c_str(), 0700), 0);
  EXPECT_EQ(Changes(), (Lines{"C etc/"}));
}

TEST_F(LayerChangesTest, AdditionsChangesAndDeletionsComeWithTheirDirectories) {
  CopyUpDirectory("etc");
  WriteFile("etc/new", "x");
  WriteFile("etc/passwd", "y");
  Whiteout("etc/issue");
  CopyTimes("etc", Find("etc"));
  EXPECT_EQ(Changes(), (Lines{"C etc/", "W etc/issue", "A etc/new", "C etc/passwd"}));
}

TEST_F(LayerChangesTest, ASocketIsToldAndWhatItReplacedStaysAway) {
  CopyUpDirectory("etc");
  for (const char* path : {"etc/issue", "etc/new"}) {
    ASSERT_EQ(::mknod(Upper(path).c_str(), S_IFSOCK | 0600, 0), 0);
  }
  CopyTimes("etc", Find("etc"));
  EXPECT_EQ(Changes(), (Lines{"C etc/", "C etc/issue", "A etc/new"}));
  const auto changes = ReadLayerChanges(*layer_, &*tree_);
  ASSERT_TRUE(changes.has_value());
  EXPECT_EQ(changes->notes.size(), 2U);
  for (const LayerEntry& entry : changes->entries) {
    if (entry.path == "etc/issue") {
      EXPECT_TRUE(entry.in_tar && entry.type == EntryType::kWhiteout);
    }
    if (entry.path == "etc/new") {
      EXPECT_FALSE(entry.in_tar);
    }
  }
}

TEST_F(LayerChangesTest, AttributesWithOverlayfssNamesAreNotEscapedInTheLayer) {
  CopyUpDirectory("etc");
  WriteFile("etc/new", "x");
  const std::string stored = StoredXattrName("user.overlay.x").value();
  ASSERT_TRUE(WriteXattr({Upper("etc/new"), false}, stored, "v").has_value());
  const auto changes = ReadLayerChanges(*layer_, &*tree_);
  ASSERT_TRUE(changes.has_value());
  using Xattrs = std::map<std::string, std::string>;
  for (const LayerEntry& entry : changes->entries) {
    if (entry.path != "etc/new") continue;
    EXPECT_EQ(entry.xattrs, (Xattrs{{"user.overlay.x", "v"}}));
  }
}

TEST_F(LayerChangesTest, WhiteoutOfNothingIsNoChange) {
  CopyUpDirectory("etc");
  Whiteout("etc/never");
  CopyTimes("etc", Find("etc"));
  EXPECT_EQ(Changes(), Lines{});
}

TEST_F(LayerChangesTest, OpaqueDirectoryHidesTheImages) {
  CopyUpDirectory("etc");
  Mark("etc", "opaque", "y");
  WriteFile("etc/passwd", "z");
  EXPECT_EQ(Changes(), (Lines{"C etc/", "O etc", "D etc/issue", "D etc/other", "C etc/passwd"}));
}

TEST_F(LayerChangesTest, MovedDirectoryBecomesItsFiles) {
  CopyUpDirectory("var");
  CopyUpDirectory("var/lib");
  ASSERT_EQ(::mkdir(Upper("var/lib/moved").c_str(), 0755), 0);
  Mark("var/lib/moved", "redirect", "app");
  WriteFile("var/lib/moved/more", "m");
  Whiteout("var/lib/moved/two");
  Whiteout("var/lib/app");
  EXPECT_EQ(Changes(), (Lines{"C var/", "C var/lib/", "W var/lib/app", "A var/lib/moved/",
                              "A var/lib/moved/more", "A var/lib/moved/one"}));
}

TEST_F(LayerChangesTest, MovedDirectoryOverAnotherHidesIt) {
  Whiteout("var");
  CopyUpDirectory("etc");
  ASSERT_EQ(::rmdir(Upper("etc").c_str()), 0);
  ASSERT_EQ(::mkdir(Upper("etc").c_str(), 0755), 0);
  Mark("etc", "redirect", "/var/lib/app");
  EXPECT_EQ(Changes(), (Lines{"C etc/", "O etc", "D etc/issue", "A etc/one", "D etc/other",
                              "D etc/passwd", "A etc/two", "W var"}));
}

TEST_F(LayerChangesTest, FileInTheWayOfADirectoryAndTheReverse) {
  WriteFile("etc", "now a file");
  CopyUpDirectory("bin");
  ASSERT_EQ(::mkdir(Upper("bin/tool").c_str(), 0755), 0);
  WriteFile("bin/tool/x", "x");
  CopyTimes("bin", Find("bin"));
  EXPECT_EQ(Changes(), (Lines{"C bin/", "C bin/tool/", "A bin/tool/x", "C etc"}));
}

TEST_F(LayerChangesTest, EveryNameOfACopiedUpInodeIsTold) {
  CopyUpDirectory("bin");
  WriteFile("bin/tool", "changed");
  const std::string index =
      directory_ / ("layer/index/" + std::to_string(ToUint(Find("bin/tool"))));
  ASSERT_EQ(::link(Upper("bin/tool").c_str(), index.c_str()), 0);
  CopyTimes("bin", Find("bin"));
  EXPECT_EQ(Changes(), (Lines{"C bin/", "C bin/link", "C bin/tool => bin/link", "C etc/",
                              "C etc/other => bin/link"}));
}

TEST_F(LayerChangesTest, NameThatIsHiddenIsNotTold) {
  CopyUpDirectory("bin");
  WriteFile("bin/tool", "changed");
  const std::string index =
      directory_ / ("layer/index/" + std::to_string(ToUint(Find("bin/tool"))));
  ASSERT_EQ(::link(Upper("bin/tool").c_str(), index.c_str()), 0);
  Whiteout("bin/link");
  CopyTimes("bin", Find("bin"));
  Whiteout("etc");
  EXPECT_EQ(Changes(), (Lines{"C bin/", "W bin/link", "C bin/tool", "W etc"}));
}

TEST_F(LayerChangesTest, LinksAmongMovedFilesKeepTheirOtherNames) {
  ASSERT_EQ(::mkdir(Upper("tools").c_str(), 0755), 0);
  Mark("tools", "redirect", "bin");
  Whiteout("bin");
  CopyTimes("", kRootInode);
  EXPECT_EQ(Changes(), (Lines{"W bin", "C etc/", "C etc/other", "A tools/",
                              "A tools/link => etc/other", "A tools/tool => etc/other"}));
}

TEST_F(LayerChangesTest, IndexNameThatIsNoInodeIsCorrupt) {
  directory_.Write("layer/index/999999999", "x");
  const auto changes = ReadLayerChanges(*layer_, &*tree_);
  ASSERT_FALSE(changes.has_value());
  EXPECT_EQ(changes.error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace layerfs

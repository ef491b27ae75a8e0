// SPDX-License-Identifier: Apache-2.0
#include "fs/overlay_marks.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <string>

#include "index/base/file.h"
#include "tests/fetch/temp_dir.h"

namespace layerfs {
namespace {

TEST(MarkFormTest, NamesTheAttributesOfEachForm) {
  const MarkForm root;
  EXPECT_EQ(root.Overlay("opaque"), "trusted.overlay.opaque");
  EXPECT_EQ(root.Own("origin"), "trusted.layerfs.origin");
  MarkForm user;
  user.trusted = false;
  EXPECT_EQ(user.Overlay("whiteout"), "user.overlay.whiteout");
  EXPECT_EQ(user.Own("nlink"), "user.layerfs.nlink");
}

TEST(PrivateXattrTest, MarksOfBothFormsAreHidden) {
  for (const char* name :
       {"trusted.overlay.opaque", "user.overlay.redirect", "trusted.layerfs.nlink",
        "user.layerfs.partial", "user.containers.override_stat"}) {
    EXPECT_TRUE(IsPrivateXattr(name)) << name;
  }
  for (const char* name : {"user.overlay", "trusted.overlayfs", "user.x", "security.capability",
                           "user.containers.override_status"}) {
    EXPECT_FALSE(IsPrivateXattr(name)) << name;
  }
}

struct EscapeCase {
  std::string name;
  std::string shown;
  std::string stored;
};
class EscapedXattr : public testing::TestWithParam<EscapeCase> {};

TEST_P(EscapedXattr, IsStoredUnderAnotherNameAndShownAsItself) {
  EXPECT_EQ(StoredXattrName(GetParam().shown), GetParam().stored);
  EXPECT_EQ(ShownXattrName(GetParam().stored), GetParam().shown);
}

INSTANTIATE_TEST_SUITE_P(
    Names, EscapedXattr,
    testing::Values(EscapeCase{"Ordinary", "user.x", "user.x"},
                    EscapeCase{"Opaque", "trusted.overlay.opaque",
                               "trusted.overlay.overlay.opaque"},
                    EscapeCase{"User", "user.overlay.redirect", "user.overlay.overlay.redirect"},
                    EscapeCase{"Twice", "trusted.overlay.overlay.opaque",
                               "trusted.overlay.overlay.overlay.opaque"},
                    EscapeCase{"Own", "trusted.layerfs.origin", "trusted.layerfs.overlay.origin"},
                    EscapeCase{"UsersOwn", "user.layerfs.partial", "user.layerfs.overlay.partial"},
                    EscapeCase{"Longer", "trusted.overlayfs", "trusted.overlayfs"}),
    [](const auto& info) { return info.param.name; });

TEST(EscapedXattrTest, MarksDoNotShowAndOwnersCannotBeOverridden) {
  for (const char* name : {"trusted.overlay.opaque", "user.overlay.whiteout",
                           "trusted.layerfs.origin", "user.containers.override_stat"}) {
    EXPECT_EQ(ShownXattrName(name), std::nullopt) << name;
  }
  EXPECT_EQ(StoredXattrName("user.containers.override_stat"), std::nullopt);
}

TEST(WhiteoutFileTest, NamesWhatIsNotThere) {
  EXPECT_EQ(NameOfWhiteoutFile(".wh.name"), "name");
  EXPECT_EQ(NameOfWhiteoutFile(".wh..hidden"), ".hidden");
  for (const char* name : {".wh..wh..opq", ".wh..wh.plnk", ".wh.", "name", ".whiteout", ""}) {
    EXPECT_EQ(NameOfWhiteoutFile(name), "") << name;
  }
}

TEST(WhiteoutDeviceTest, OnlyACharacterDevice00) {
  struct stat attributes{};
  attributes.st_mode = S_IFCHR | 0600;
  EXPECT_TRUE(IsWhiteoutDevice(attributes));
  attributes.st_rdev = makedev(1, 3);
  EXPECT_FALSE(IsWhiteoutDevice(attributes));
  attributes.st_rdev = 0;
  attributes.st_mode = S_IFBLK | 0600;
  EXPECT_FALSE(IsWhiteoutDevice(attributes));
  attributes.st_mode = S_IFREG;
  EXPECT_FALSE(IsWhiteoutDevice(attributes));
}

struct CountCase {
  std::string name;
  LinkCount count;
  std::string text;
};
class LinkCountCase : public testing::TestWithParam<CountCase> {};

TEST_P(LinkCountCase, IsWrittenAndReadBack) {
  EXPECT_EQ(EncodeLinkCount(GetParam().count), GetParam().text);
  EXPECT_EQ(DecodeLinkCount(GetParam().text), GetParam().count);
}

INSTANTIATE_TEST_SUITE_P(Counts, LinkCountCase,
                         testing::Values(CountCase{"Total", {false, 3}, "T3"},
                                         CountCase{"None", {false, 0}, "T0"},
                                         CountCase{"Fewer", {true, -1}, "U-1"},
                                         CountCase{"Same", {true, 0}, "U+0"},
                                         CountCase{"More", {true, 12}, "U+12"}),
                         [](const auto& info) { return info.param.name; });

TEST(LinkCountTest, AnythingElseIsRefused) {
  for (const char* text :
       {"", "T", "U", "U+", "3", "X3", "T3x", "U--1", "T 3", "T99999999999999999999"}) {
    EXPECT_EQ(DecodeLinkCount(text), std::nullopt) << text;
  }
}

struct OverrideCase {
  std::string name;
  mode_t mode;
  dev_t device;
  std::string text;
};
class OverrideStatCase : public testing::TestWithParam<OverrideCase> {};

TEST_P(OverrideStatCase, IsWrittenAndReadBack) {
  struct stat shown{};
  shown.st_uid = 1000;
  shown.st_gid = 50;
  shown.st_mode = GetParam().mode;
  shown.st_rdev = GetParam().device;
  EXPECT_EQ(EncodeOverrideStat(shown), GetParam().text);
  struct stat read{};
  read.st_mode = S_IFREG | 0600;
  ASSERT_TRUE(ApplyOverrideStat(GetParam().text, read).has_value());
  EXPECT_EQ(read.st_uid, 1000U);
  EXPECT_EQ(read.st_gid, 50U);
  EXPECT_EQ(read.st_mode, GetParam().mode);
  EXPECT_EQ(read.st_rdev, GetParam().device);
}

INSTANTIATE_TEST_SUITE_P(
    Types, OverrideStatCase,
    testing::Values(OverrideCase{"File", S_IFREG | 04755, 0, "1000:50:4755:file"},
                    OverrideCase{"Directory", S_IFDIR | 01777, 0, "1000:50:1777:dir"},
                    OverrideCase{"Symlink", S_IFLNK | 0777, 0, "1000:50:777:symlink"},
                    OverrideCase{"Fifo", S_IFIFO | 0600, 0, "1000:50:600:pipe"},
                    OverrideCase{"Socket", S_IFSOCK | 0600, 0, "1000:50:600:socket"},
                    OverrideCase{"Device", S_IFCHR | 0666, makedev(1, 3), "1000:50:666:char-1-3"},
                    OverrideCase{"Disk", S_IFBLK | 0660, makedev(259, 1048575),
                                 "1000:50:660:block-259-1048575"}),
    [](const auto& info) { return info.param.name; });

TEST(OverrideStatTest, WithoutATypeItStays) {
  struct stat attributes{};
  attributes.st_mode = S_IFDIR | 0755;
  ASSERT_TRUE(ApplyOverrideStat("0:0:0700", attributes).has_value());
  EXPECT_EQ(attributes.st_mode, mode_t{S_IFDIR | 0700});
}

TEST(OverrideStatTest, NonsenseIsCorrupt) {
  for (const char* text : {"", "0", "0:0", "0:0:888", "0:0:10000", "a:0:700", "0:-1:700",
                           "0:0:700:", "0:0:700:thing", "0:0:700:char", "0:0:700:char-1",
                           "0:0:700:char-1-x", "0:0:700:file-1-2", "0:0:700:file:more"}) {
    struct stat attributes{};
    const Status applied = ApplyOverrideStat(text, attributes);
    ASSERT_FALSE(applied.has_value()) << text;
    EXPECT_EQ(applied.error().code, ErrorCode::kCorrupt);
  }
}

// On a real directory, in the form that needs no privilege.
class MarkedObjectTest : public testing::Test {
 protected:
  MarkedObjectTest() : fd_(*OpenFile(directory_ / "", O_RDONLY | O_DIRECTORY)) {
    MarkForm user;
    user.trusted = false;
    form_ = user;
  }
  ObjectPath self() const { return PathOfDescriptor(fd_.get()); }

  TempDir directory_;
  UniqueFd fd_;
  MarkForm form_;
};

TEST_F(MarkedObjectTest, OpaqueHasThreeAnswers) {
  EXPECT_EQ(*ReadOpaque(self()), OpaqueMark::kNone);
  ASSERT_TRUE(WriteXattr(self(), form_.Overlay("opaque"), "y").has_value());
  EXPECT_EQ(*ReadOpaque(self()), OpaqueMark::kOpaque);
  ASSERT_TRUE(WriteXattr(self(), form_.Overlay("opaque"), "x").has_value());
  EXPECT_EQ(*ReadOpaque(self()), OpaqueMark::kHasWhiteouts);
}

TEST_F(MarkedObjectTest, AnOriginThatIsNoNumberIsCorrupt) {
  EXPECT_EQ(*ReadOrigin(self()), std::nullopt);
  ASSERT_TRUE(WriteXattr(self(), form_.Own("origin"), "4711").has_value());
  EXPECT_EQ(*ReadOrigin(self()), (Origin{4711, ""}));
  const Origin of_directory{4711, "1:0a0b@0c"};
  ASSERT_TRUE(WriteXattr(self(), form_.Own("origin"), EncodeOrigin(of_directory)).has_value());
  EXPECT_EQ(*ReadOrigin(self()), of_directory);
  ASSERT_TRUE(WriteXattr(self(), form_.Own("origin"), "4711x").has_value());
  EXPECT_EQ(ReadOrigin(self()).error().code, ErrorCode::kCorrupt);
}

TEST_F(MarkedObjectTest, LongValuesAndMissingOnes) {
  const std::string path(3000, 'r');
  EXPECT_EQ(*ReadRedirect(self()), "");
  ASSERT_TRUE(WriteXattr(self(), form_.Overlay("redirect"), path).has_value());
  EXPECT_EQ(*ReadRedirect(self()), path);
  EXPECT_TRUE(DropXattr(self(), form_.Overlay("redirect")).has_value());
  EXPECT_TRUE(DropXattr(self(), form_.Overlay("redirect")).has_value());
  EXPECT_EQ(*ReadXattr(self(), form_.Overlay("redirect")), std::nullopt);
}

TEST_F(MarkedObjectTest, AWhiteoutFileStandsBesideTheName) {
  directory_.Write("sub/.wh.name", "");
  EXPECT_TRUE(HasWhiteoutFile(fd_.get(), "sub/name"));
  EXPECT_FALSE(HasWhiteoutFile(fd_.get(), "name"));
  directory_.Write(".wh.name", "");
  EXPECT_TRUE(HasWhiteoutFile(fd_.get(), "name"));
  EXPECT_FALSE(HasWhiteoutFile(fd_.get(), std::string(254, 'n')));
}

TEST_F(MarkedObjectTest, AMetacopyFileIsRefused) {
  directory_.Write("plain", "text");
  const std::string path = directory_.Write("meta", "");
  ASSERT_EQ(::truncate(path.c_str(), 100000), 0);
  ASSERT_TRUE(WriteXattr(PathOfName(fd_.get(), "meta"), form_.Overlay("metacopy"), "").has_value());
  const auto plain = OpenFileAt(fd_.get(), "plain", O_RDONLY);
  const auto meta = OpenFileAt(fd_.get(), "meta", O_RDONLY);
  EXPECT_TRUE(RefuseMetacopy(plain->get()).has_value());
  ASSERT_FALSE(RefuseMetacopy(meta->get()).has_value());
  EXPECT_EQ(RefuseMetacopy(meta->get()).error().code, ErrorCode::kIo);
}

TEST_F(MarkedObjectTest, ANameIsNotFollowed) {
  ASSERT_EQ(::symlinkat("target", fd_.get(), "link"), 0);
  ASSERT_TRUE(WriteFileAtomically(directory_ / "target", AsBytes("x")).has_value());
  ASSERT_TRUE(WriteXattr(PathOfName(fd_.get(), "target"), "user.x", "1").has_value());
  EXPECT_EQ(*ReadXattr(PathOfName(fd_.get(), "link"), "user.x"), std::nullopt);
  EXPECT_EQ(*ReadXattrNames(PathOfName(fd_.get(), "target")), std::vector<std::string>{"user.x"});
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/overlay_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace layerfs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<OverlayOptions> Parse(const std::string& list) {
  return ParseOverlayOptions(SplitMountWords({list}));
}

TEST(MountWordsTest, CommasSeparateUnlessTheyAreEscaped) {
  EXPECT_THAT(SplitMountWords({"a,b=1", "c"}), ElementsAre("a", "b=1", "c"));
  EXPECT_THAT(SplitMountWords({",a,,b,"}), ElementsAre("a", "b"));
  EXPECT_THAT(SplitMountWords({R"(lowerdir=/x\,y,upperdir=/u)"}),
              ElementsAre(R"(lowerdir=/x\,y)", "upperdir=/u"));
  EXPECT_THAT(SplitMountWords({}), ElementsAre());
}

TEST(MountWordsTest, DirectoriesAreNamedByOverlayfssWordsOnly) {
  for (const char* word : {"lowerdir=/a", "lowerdir+=/a", "upperdir=/u", "workdir=/w"}) {
    EXPECT_TRUE(NamesDirectories({"ro", word})) << word;
  }
  EXPECT_FALSE(NamesDirectories({"ro", "allow_other", "fsname=lowerdir=/a"}));
}

TEST(OverlayOptionsTest, PlacesComeWithTheirEscapesUndone) {
  const auto options = Parse(R"(lowerdir=/a\:b:/c\,d:rel,upperdir=/u\,1,workdir=/w)");
  ASSERT_TRUE(options.has_value()) << options.error().context;
  EXPECT_THAT(options->lower_directories, ElementsAre("/a:b", "/c,d", "rel"));
  EXPECT_EQ(options->upper_directory, "/u,1");
  EXPECT_EQ(options->work_directory, "/w");
}

TEST(OverlayOptionsTest, LowerDirectoriesMayComeOneByOne) {
  EXPECT_THAT(Parse("lowerdir+=/a:b,lowerdir+=/c")->lower_directories, ElementsAre("/a:b", "/c"));
}

TEST(OverlayOptionsTest, WithoutWordsItBehavesAsOverlayfs) {
  const auto options = Parse("lowerdir=/a");
  ASSERT_TRUE(options.has_value());
  EXPECT_TRUE(options->upper_directory.empty());
  EXPECT_TRUE(options->file_system.redirect_dir);
  EXPECT_TRUE(options->file_system.sync);
  EXPECT_TRUE(options->file_system.posix_acl);
  EXPECT_FALSE(options->file_system.static_nlink);
  EXPECT_FALSE(options->file_system.squash_uid.has_value());
  EXPECT_FALSE(options->marks.user);
  EXPECT_FALSE(options->one_thread);
  EXPECT_TRUE(options->others.empty());
}

TEST(OverlayOptionsTest, BehaviourIsWhatTheWordsSay) {
  const auto options = Parse(
      "lowerdir=/a,redirect_dir=off,volatile,static_nlink,noacl,threaded=0,squash_to_uid=7,"
      "squash_to_gid=8,userxattr,timeout=1.5,uidmapping=0:1000:1:1:100000:65536,gidmapping=0:50:1");
  ASSERT_TRUE(options.has_value()) << options.error().context;
  const LayeredFileSystem::Options& file_system = options->file_system;
  EXPECT_FALSE(file_system.redirect_dir);
  EXPECT_FALSE(file_system.sync);
  EXPECT_TRUE(file_system.static_nlink);
  EXPECT_FALSE(file_system.posix_acl);
  EXPECT_TRUE(options->one_thread);
  EXPECT_TRUE(options->marks.user);
  EXPECT_EQ(file_system.squash_uid, 7U);
  EXPECT_EQ(file_system.squash_gid, 8U);
  EXPECT_EQ(file_system.timeout_seconds, 1.5);
  EXPECT_EQ(file_system.uids.ToShown(1), 100000U);
  EXPECT_EQ(file_system.gids.ToDisk(50), 0U);
}

TEST(OverlayOptionsTest, RedirectsAreFollowedUnlessTheWordSaysNot) {
  for (const char* word : {"on", "1", "off", "0", "follow"}) {
    const auto options = Parse(std::string("lowerdir=/a,redirect_dir=") + word);
    ASSERT_TRUE(options.has_value()) << word;
    EXPECT_TRUE(options->file_system.follow_redirects) << word;
    EXPECT_EQ(options->file_system.redirect_dir, word == std::string("on") || word[0] == '1');
  }
  EXPECT_FALSE(Parse("lowerdir=/a,redirect_dir=nofollow")->file_system.follow_redirects);
}

TEST(OverlayOptionsTest, SquashToRootYieldsToANumber) {
  EXPECT_EQ(Parse("lowerdir=/a,squash_to_root")->file_system.squash_uid, 0U);
  EXPECT_EQ(Parse("lowerdir=/a,squash_to_root")->file_system.squash_gid, 0U);
  EXPECT_EQ(Parse("lowerdir=/a,squash_to_root,squash_to_uid=5")->file_system.squash_uid, 5U);
}

TEST(OverlayOptionsTest, WhatMakesNoDifferenceIsTaken) {
  for (const char* word : {"xino=off", "xino=auto", "index=off", "index=on", "metacopy=off",
                           "nfs_export=off", "writeback=0", "xattr_permissions=0", "noxattrs=0",
                           "fast_ino=1", "clone_fd", "uuid=null", "verity=off"}) {
    const auto options = Parse(std::string("lowerdir=/a,") + word);
    ASSERT_TRUE(options.has_value()) << word << ": " << options.error().context;
    EXPECT_TRUE(options->others.empty()) << word;
  }
}

TEST(OverlayOptionsTest, WhatIsNotOursGoesOn) {
  EXPECT_THAT(Parse("lowerdir=/a,allow_other,ro,noexec,fsname=x,nonsense=1")->others,
              ElementsAre("allow_other", "ro", "noexec", "fsname=x", "nonsense=1"));
}

struct RefusedCase {
  std::string name;
  std::string list;
  std::string says;
};
class RefusedOptions : public testing::TestWithParam<RefusedCase> {};

TEST_P(RefusedOptions, AreRefusedByName) {
  const auto options = Parse(GetParam().list);
  ASSERT_FALSE(options.has_value());
  EXPECT_EQ(options.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(options.error().context, HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Words, RefusedOptions,
    testing::Values(RefusedCase{"Metacopy", "lowerdir=/a,metacopy=on", "metacopy=on"},
                    RefusedCase{"NfsExport", "lowerdir=/a,nfs_export=on", "nfs_export=on"},
                    RefusedCase{"Writeback", "lowerdir=/a,writeback=1", "writeback=1"},
                    RefusedCase{"XattrPermissions", "lowerdir=/a,xattr_permissions=1",
                                "xattr_permissions=1"},
                    RefusedCase{"Plugins", "lowerdir=/a,plugins=/x.so", "plugins"},
                    RefusedCase{"NoXattrs", "lowerdir=/a,noxattrs=1", "noxattrs=1"},
                    RefusedCase{"Verity", "lowerdir=/a,verity=require", "verity=require"},
                    RefusedCase{"VerityOn", "lowerdir=/a,verity=on", "verity=on"},
                    RefusedCase{"Label", "lowerdir=/a,context=x", "context=x"},
                    RefusedCase{"RedirectDir", "lowerdir=/a,redirect_dir=bad", "redirect_dir=bad"},
                    RefusedCase{"NoLower", "upperdir=/u,workdir=/w", "lowerdir="},
                    RefusedCase{"NamelessLower", "lowerdir=/a::/b", "lowerdir="},
                    RefusedCase{"UpperAlone", "lowerdir=/a,upperdir=/u", "workdir="},
                    RefusedCase{"WorkAlone", "lowerdir=/a,workdir=/w", "upperdir="},
                    RefusedCase{"UidNoNumber", "lowerdir=/a,squash_to_uid=me", "\"me\""},
                    RefusedCase{"UidNegative", "lowerdir=/a,squash_to_uid=-1", "\"-1\""},
                    RefusedCase{"MapOfTwo", "lowerdir=/a,uidmapping=0:1000", "uidmapping"},
                    RefusedCase{"MapOfWords", "lowerdir=/a,gidmapping=0:a:1", "gidmapping"},
                    RefusedCase{"Timeout", "lowerdir=/a,timeout=long", "timeout"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

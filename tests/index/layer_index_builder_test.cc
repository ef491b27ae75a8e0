// SPDX-License-Identifier: Apache-2.0
// The OCI rules that concern one layer alone, each as a small tar and the layer index's text.
#include "index/layer_index_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/index/layer_stack.h"

namespace layerfs {
namespace {

using ::testing::HasSubstr;

// Owner, user 7, group, mask and others.
const std::string kNamedAcl(
    "\2\0\0\0\1\0\6\0\xff\xff\xff\xff\2\0\7\0\7\0\0\0\4\0\4\0\xff\xff\xff\xff"
    "\20\0\7\0\xff\xff\xff\xff\40\0\0\0\xff\xff\xff\xff",
    44);

struct LayerCase {
  const char* name;
  TarWriter tar;
  std::string expected;
};

void PrintTo(const LayerCase& layer_case, std::ostream* out) { *out << layer_case.name; }

std::string NameOf(const testing::TestParamInfo<LayerCase>& info) { return info.param.name; }

class LayerRules : public testing::TestWithParam<LayerCase> {};

TEST_P(LayerRules, GiveTheLayerIndex) {
  EXPECT_EQ(DumpLayer(GetParam().tar.Finish()), GetParam().expected);
}

const LayerCase kPathCases[] = {
    {"PathsAreCleaned", TarWriter().File("./a//./b/", "x").Directory("/c//"),
     "/ (implicit)\na/ (implicit)\na/b = x\nc/\n"},
    {"RootEntrySetsTheRootsAttributes",
     TarWriter().Add({.path = "./", .type = '5', .mode = 0700, .uid = 5}), "/ 0700 5:0\n"},
    {"MissingParentsAreImplicit", TarWriter().File("a/b/c"),
     "/ (implicit)\na/ (implicit)\na/b/ (implicit)\na/b/c = \n"},
    {"AnEntryMakesAnImplicitDirectoryExplicit", TarWriter().File("a/b").Directory("a", 0700),
     "/ (implicit)\na/ 0700\na/b = \n"},
    {"AllTypesKeepTheirAttributes",
     TarWriter()
         .Directory("", 01777)
         .Add({.path = "f",
               .content = "x",
               .mode = 04755,
               .uid = 1,
               .gid = 2,
               .mtime = -1,
               .mtime_nanoseconds = 5,
               .xattrs = {{"user.k", "v"}}})
         .Add({.path = "s", .type = '2', .link_target = "f", .mode = 0600, .uid = 3})
         .Device("c", '3', 1, 3)
         .Device("d", '4', 259, 70000)
         .Fifo("p"),
     "/ 1777\nc c 1:3\nd b 259:70000\nf = x 4755 1:2 @-1.5 {user.k=v}\np p\ns -> f 3:0\n"},
    {"AclsOfSymlinksAndOverlayfssMarksAreDropped",
     TarWriter()
         .Add({.path = "d",
               .type = '5',
               .mode = 0755,
               .xattrs = {{"trusted.overlay.opaque", "y"}, {"trusted.x", "y"}}})
         .Add({.path = "s",
               .type = '2',
               .link_target = "f",
               .mode = 0777,
               .xattrs = {{"system.posix_acl_access", kNamedAcl}}}),
     "/ (implicit)\nd/ {trusted.x=y}\ns -> f\n"},
    {"OfSeveralPaxHeadersTheLastCounts",
     TarWriter()
         .Add({.path = "h", .type = 'x', .content = "25 SCHILY.xattr.user.a=1\n"})
         .Add({.path = "h", .type = 'x', .content = "25 SCHILY.xattr.user.b=1\n"})
         .File("f"),
     "/ (implicit)\nf =  {user.b=1}\n"},
    {"UserXattrsOfSymlinksAreDropped",
     TarWriter().Add({.path = "s",
                      .type = '2',
                      .link_target = "f",
                      .xattrs = {{"user.k", "v"}, {"trusted.k", "v"}}}),
     "/ (implicit)\ns -> f {trusted.k=v}\n"},
    {"SparseFilesKeepTheirHoles", TarWriter().SparsePax10("s", 1030, {{512, "ab"}, {1028, "cd"}}),
     "/ (implicit)\ns = " + std::string(512, '0') + "ab" + std::string(514, '0') + "cd\n"},
};
INSTANTIATE_TEST_SUITE_P(Paths, LayerRules, testing::ValuesIn(kPathCases), NameOf);

const LayerCase kDuplicateCases[] = {
    {"LaterFileReplacesEarlier", TarWriter().File("a", "1").File("./a", "2"),
     "/ (implicit)\na = 2\n"},
    {"DirectoryOverDirectoryKeepsChildren",
     TarWriter().Directory("a", 0700).File("a/x").Directory("a", 0711),
     "/ (implicit)\na/ 0711\na/x = \n"},
    {"DirectoryOverDirectoryReplacesXattrs",
     TarWriter()
         .Add({.path = "a", .type = '5', .mode = 0755, .xattrs = {{"user.k", "v"}}})
         .Directory("a"),
     "/ (implicit)\na/\n"},
    {"FileOverDirectoryRemovesWhatIsBelow", TarWriter().File("a/b/c").File("a", "file"),
     "/ (implicit)\na = file\n"},
    {"DirectoryOverFileHidesLowerDirectories", TarWriter().File("a").Directory("a").File("a/x"),
     "/ (implicit)\na/ (opaque)\na/x = \n"},
    {"DirectoryOverSymlinkHidesLowerDirectories", TarWriter().Symlink("a", "b").Directory("a"),
     "/ (implicit)\na/ (opaque)\n"},
};
INSTANTIATE_TEST_SUITE_P(Duplicates, LayerRules, testing::ValuesIn(kDuplicateCases), NameOf);

const LayerCase kSymlinkCases[] = {
    {"AbsoluteSymlinkIsFollowedInsideTheRoot",
     TarWriter().Directory("etc").Symlink("l", "/etc").File("l/x"),
     "/ (implicit)\netc/\netc/x = \nl -> /etc\n"},
    {"RelativeSymlinkIsFollowedFromItsDirectory",
     TarWriter().Directory("a/b").Symlink("a/l", "b").File("a/l/x"),
     "/ (implicit)\na/ (implicit)\na/b/\na/b/x = \na/l -> b\n"},
    {"DotDotOfASymlinkEndsAtTheRoot", TarWriter().Symlink("l", "../../t").File("l/x"),
     "/ (implicit)\nl -> ../../t\nt/ (implicit)\nt/x = \n"},
    {"SymlinkToSymlinkIsFollowed", TarWriter().Symlink("l", "m").Symlink("m", "./d/").File("l/x"),
     "/ (implicit)\nd/ (implicit)\nd/x = \nl -> m\nm -> ./d/\n"},
    {"DotDotAfterAMissingNameUndoesIt", TarWriter().Symlink("l", "gone/../../d").File("l/x"),
     "/ (implicit)\nd/ (implicit)\nd/x = \nl -> gone/../../d\n"},
    {"SymlinkItselfIsReplacedNotFollowed", TarWriter().Symlink("l", "d").File("l", "file"),
     "/ (implicit)\nl = file\n"},
    {"SymlinkLoopIsRefused", TarWriter().Symlink("a", "b").Symlink("b", "a").File("a/x"),
     "error: entry 'a/x' at tar offset 1024: symlinks go in circles at 'b'"},
    {"FileAsParentIsRefused", TarWriter().File("a/b").File("a/b/c"),
     "error: entry 'a/b/c' at tar offset 512: 'a/b' is not a directory"},
};
INSTANTIATE_TEST_SUITE_P(Symlinks, LayerRules, testing::ValuesIn(kSymlinkCases), NameOf);

const LayerCase kWhiteoutCases[] = {
    {"WhiteoutHidesAName", TarWriter().File("a/.wh.x"),
     "/ (implicit)\na/ (implicit)\na/x whiteout\n"},
    {"OpaqueMarkerMayComeLast", TarWriter().Directory("a").File("a/x").File("a/.wh..wh..opq"),
     "/ (implicit)\na/ (opaque)\na/x = \n"},
    {"OpaqueMarkerMayComeFirst", TarWriter().File("a/.wh..wh..opq").Directory("a").File("a/x"),
     "/ (implicit)\na/ (opaque)\na/x = \n"},
    {"RootMayBeOpaque", TarWriter().File(".wh..wh..opq"), "/ (implicit) (opaque)\n"},
    {"AufsLeftoversAreIgnored",
     TarWriter().File(".wh..wh.aufs").Directory(".wh..wh.plnk").File(".wh..wh.plnk/1.2", "x"),
     "/ (implicit)\n"},
    {"HardLinkIntoAufsLeftoversGetsTheFile",
     TarWriter().File(".wh..wh.plnk/1.2", "x").HardLink("f", ".wh..wh.plnk/1.2"),
     "/ (implicit)\nf = x\n"},
    {"FileBesideItsWhiteoutStays", TarWriter().File("x", "1").File(".wh.x"),
     "/ (implicit)\nx = 1\n"},
    {"FileAfterItsWhiteoutStays", TarWriter().File(".wh.x").File("x", "1"),
     "/ (implicit)\nx = 1\n"},
    {"DirectoryBesideItsWhiteoutIsOpaque", TarWriter().Directory("x").File(".wh.x"),
     "/ (implicit)\nx/ (opaque)\n"},
    {"DirectoryAfterItsWhiteoutIsOpaque", TarWriter().File(".wh.x").Directory("x").File("x/y"),
     "/ (implicit)\nx/ (opaque)\nx/y = \n"},
    {"ImpliedDirectoryBesideItsWhiteoutIsNewAndOpaque", TarWriter().File(".wh.x").File("x/y"),
     "/ (implicit)\nx/ (opaque)\nx/y = \n"},
    {"WhiteoutAfterAnImpliedDirectoryMakesItNew", TarWriter().File("x/y").File(".wh.x"),
     "/ (implicit)\nx/ (opaque)\nx/y = \n"},
    {"WhiteoutThroughASymlinkOfTheLayer", TarWriter().Symlink("l", "d").File("l/.wh.x"),
     "/ (implicit)\nd/ (implicit)\nd/x whiteout\nl -> d\n"},
    {"WhiteoutPrefixOfADirectoryIsAName", TarWriter().File(".wh.d/x"),
     "/ (implicit)\n.wh.d/ (implicit)\n.wh.d/x = \n"},
    {"WhiteoutOfANameThatBeginsWithDots", TarWriter().File(".wh...."),
     "/ (implicit)\n... whiteout\n"},
    {"WhiteoutOfTheLongestName", TarWriter().File(".wh." + std::string(255, 'n')),
     "/ (implicit)\n" + std::string(255, 'n') + " whiteout\n"},
    {"WhiteoutOfALongerNameIsRefused", TarWriter().File(".wh." + std::string(256, 'n')),
     "error: entry '.wh." + std::string(256, 'n') +
         "' at tar offset 0: a component has 256 bytes, more than 255"},
    {"WhiteoutPrefixOfADirectoryCountsAsItsName",
     TarWriter().File(".wh." + std::string(252, 'n') + "/x"),
     "error: entry '.wh." + std::string(252, 'n') +
         "/x' at tar offset 0: a component has 256 bytes, more than 255"},
    {"BareWhiteoutIsRefused", TarWriter().File("a/.wh."),
     "error: entry 'a/.wh.' at tar offset 0: a whiteout that names nothing inside its directory"},
};
INSTANTIATE_TEST_SUITE_P(Whiteouts, LayerRules, testing::ValuesIn(kWhiteoutCases), NameOf);

const LayerCase kHardLinkCases[] = {
    {"HardLinkSharesTheInode", TarWriter().File("a", "1").HardLink("b", "./a"),
     "/ (implicit)\na = 1\nb => a\n"},
    {"HardLinksHeaderHasNoAttributes",
     TarWriter().File("a", "1").Add({.path = "b", .type = '1', .link_target = "a", .mode = 0}),
     "/ (implicit)\na = 1\nb => a\n"},
    {"HardLinkToASymlinkSharesTheSymlink",
     TarWriter().File("t", "1").Symlink("a", "t").HardLink("b", "a"),
     "/ (implicit)\na -> t\nb => a\nt = 1\n"},
    {"HardLinkTargetsParentsAreFollowed",
     TarWriter().File("d/f", "1").Symlink("l", "d").HardLink("b", "l/f"),
     "/ (implicit)\nb = 1\nd/ (implicit)\nd/f => b\nl -> d\n"},
    {"HardLinkOutlivesTheReplacedName",
     TarWriter().File("a", "1").HardLink("b", "a").File("a", "2"), "/ (implicit)\na = 2\nb = 1\n"},
    {"HardLinkIntoALowerLayerKeepsItsPath", TarWriter().HardLink("b", "/usr/../x//y"),
     "/ (implicit)\nb => x/y?\n"},
    {"UnresolvedPathHasTheLayersSymlinksFollowed",
     TarWriter().Symlink("l", "/d/e").HardLink("b", "l/f"),
     "/ (implicit)\nb => d/e/f?\nl -> /d/e\n"},
    {"HardLinkToAnUnresolvedLinkSharesIt", TarWriter().HardLink("b", "x").HardLink("c", "b"),
     "/ (implicit)\nb => x?\nc => b\n"},
    {"HardLinkToAWhiteoutIsUnresolved", TarWriter().File(".wh.x").HardLink("b", "x"),
     "/ (implicit)\nb => x?\nx whiteout\n"},
    {"HardLinkAgainIsTheSame",
     TarWriter().File("a", "1").HardLink("b", "a").HardLink("b", "a").HardLink("a", "b"),
     "/ (implicit)\na = 1\nb => a\n"},
    {"HardLinkToADirectoryIsRefused", TarWriter().Directory("d").HardLink("b", "d"),
     "error: entry 'b' at tar offset 512: a hard link to the directory 'd'"},
    {"HardLinkToTheRootIsRefused", TarWriter().HardLink("b", "../.."),
     "error: entry 'b' at tar offset 0: a hard link to a directory"},
    {"HardLinkToItselfIsRefused", TarWriter().File("a/b").HardLink("a/b", "./a//b"),
     "error: entry 'a/b' at tar offset 512: a hard link to itself"},
    {"HardLinkToItselfByASymlinkIsRefused",
     TarWriter().File("a/b").Symlink("l", "a").HardLink("l/b", "a/b"),
     "error: entry 'l/b' at tar offset 1024: a hard link to itself"},
};
INSTANTIATE_TEST_SUITE_P(HardLinks, LayerRules, testing::ValuesIn(kHardLinkCases), NameOf);

std::string LongPath() {
  std::string path;
  for (int i = 0; i < 2048; ++i) path += "d/";
  return path + "f";
}

const LayerCase kRefusedCases[] = {
    {"DotDot", TarWriter().File("a/../b"),
     "error: entry 'a/../b' at tar offset 0: the path contains \"..\""},
    {"LeadingDotDot", TarWriter().File("../b"),
     "error: entry '../b' at tar offset 0: the path contains \"..\""},
    {"LongName", TarWriter().File(std::string(256, 'n')),
     "error: entry '" + std::string(256, 'n') +
         "' at tar offset 0: a component has 256 bytes, more than 255"},
    {"RootThatIsAFile", TarWriter().File("./"),
     "error: entry './' at tar offset 0: the root is not a directory"},
    {"SymlinkTargetThatNoKernelTakes", TarWriter().Symlink("s", std::string(4096, 't')),
     "error: entry 's' at tar offset 0: the link's target has more than 4095 bytes"},
    {"HardLinkTargetThatNoKernelTakes", TarWriter().HardLink("h", LongPath()),
     "error: entry 'h' at tar offset 0: the link's target has more than 4095 bytes"},
};
INSTANTIATE_TEST_SUITE_P(Refused, LayerRules, testing::ValuesIn(kRefusedCases), NameOf);

TEST(LayerIndexBuilderTest, NulInAPathIsRefused) {
  TarEntry entry;
  entry.path = std::string("a\0b", 3);
  const Status status = LayerIndexBuilder().Add(entry);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(status.error().context, HasSubstr("NUL in the component 'a\\x00b'"));
}

TEST(LayerIndexBuilderTest, SymlinkWithoutTargetIsRefused) {
  TarEntry entry;
  entry.type = TarEntryType::kSymlink;
  entry.path = "s";
  const Status status = LayerIndexBuilder().Add(entry);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().context, "entry 's' at tar offset 0: a symlink without a target");
}

TEST(LayerIndexBuilderTest, NonUtf8AndLongestNamesAreKept) {
  const std::string name = "\xff\xfe\n" + std::string(252, 'n');
  EXPECT_EQ(DumpLayer(TarWriter().File(name).Finish()), "/ (implicit)\n" + name + " = \n");
}

TEST(LayerIndexBuilderTest, AttributesThatLinuxDoesNotTakeAreRefused) {
  const std::pair<TarItem, const char*> cases[] = {
      {{.path = "f", .xattrs = {{"system.posix_acl_access", "abc"}}}, "system.posix_acl_access"},
      {{.path = "f", .xattrs = {{"system.posix_acl_default", kNamedAcl}}}, "no directory"},
      {{.path = "f", .xattrs = {{"security.capability", "abc"}}}, "security.capability"},
  };
  for (const auto& [item, part] : cases) {
    EXPECT_THAT(DumpLayer(TarWriter().Add(item).Finish()), HasSubstr(part));
  }
}

TEST(LayerIndexBuilderTest, WhatASmallTarCanFillMemoryWithIsBounded) {
  std::string path;
  for (int i = 0; i < 1000; ++i) path += "d/";
  TarWriter implied;
  for (int i = 0; i < 100; ++i) implied.File(std::to_string(i) + "/" + path + "f");
  EXPECT_THAT(DumpLayer(implied.Finish()), HasSubstr("implies"));
  TarWriter attributes;
  for (int i = 0; i < 1100; ++i) {
    attributes.Add({.path = std::to_string(i),
                    .xattrs = {{"user.x", std::to_string(i) + std::string(65000, 'x')}}});
  }
  EXPECT_THAT(DumpLayer(attributes.Finish()), HasSubstr("extended attributes of more than"));
}

TEST(LayerIndexBuilderTest, DepthIsBounded) {
  const auto deep = [](size_t directories) {
    std::string path;
    for (size_t i = 0; i < directories; ++i) path += "d/";
    return BuildLayer(TarWriter().File(path + "f").Finish());
  };
  EXPECT_TRUE(deep(4096).has_value());
  const auto refused = deep(4097);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kTooLarge);
}

// Twenty symlinks whose targets are as long as Linux takes, each leading to the next.
TEST(LayerIndexBuilderTest, PathsThatTakeTooLongAreRefused) {
  std::string dots;
  while (dots.size() < 4080) dots += "./";
  TarWriter tar;
  for (int i = 0; i < 20; ++i) {
    tar.Symlink("s" + std::to_string(i), dots + "s" + std::to_string(i + 1));
  }
  const auto refused = BuildLayer(tar.File("s0/f").Finish());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kTooLarge);
}

TEST(LayerIndexBuilderTest, LinkCountsAreAsExt4Has) {
  const Bytes tar = TarWriter()
                        .Directory("d/sub1")
                        .Directory("d/sub2")
                        .File("d/f")
                        .HardLink("d/g", "d/f")
                        .File("d/h")
                        .HardLink("d/f2", "d/f")
                        .File("d/g", "new")
                        .Finish();
  const auto layer = BuildLayer(tar);
  ASSERT_TRUE(layer.has_value()) << layer.error().context;
  const auto nlink = [&](std::string_view path) {
    const auto inode = ResolvePath(*layer, path, false);
    return inode.has_value() ? layer->Get(*inode).nlink : 0;
  };
  EXPECT_EQ(nlink("/"), 3U);
  EXPECT_EQ(nlink("d"), 4U);
  EXPECT_EQ(nlink("d/sub1"), 2U);
  EXPECT_EQ(nlink("d/f"), 2U);
  EXPECT_EQ(nlink("d/f2"), 2U);
  EXPECT_EQ(nlink("d/g"), 1U);
}

TEST(LayerIndexBuilderTest, LayerAndSegmentsAreRecorded) {
  const Bytes tar = TarWriter().File("a", "1").Finish();
  const auto layer = BuildLayer(tar);
  ASSERT_TRUE(layer.has_value()) << layer.error().context;
  EXPECT_EQ(layer->kind(), IndexKind::kLayer);
  ASSERT_EQ(layer->layers().size(), 1U);
  EXPECT_EQ(layer->layers()[0].diff_id, Digest::Of(tar));
  EXPECT_EQ(layer->layers()[0].tar_size, tar.size());
  EXPECT_TRUE(layer->layers()[0].blob.is_zero());
  ASSERT_EQ(layer->segment_count(), 1U);
  EXPECT_EQ(layer->Segment(0).tar_end, tar.size());
}

TEST(LayerIndexBuilderTest, SameTarGivesSameBytes) {
  TarWriter tar;
  for (int i = 0; i < 300; ++i) {
    tar.Add({.path = "d" + std::to_string(i * 37 % 300) + "/f",
             .content = "x",
             .xattrs = {{"user.b", std::to_string(i % 7)}, {"user.a", "1"}}});
  }
  const auto first = BuildLayerBytes(tar.Finish());
  const auto second = BuildLayerBytes(tar.Finish());
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(*first, *second);
}

TEST(LayerIndexBuilderTest, FinishLeavesAnEmptyBuilder) {
  LayerIndexBuilder builder;
  TarEntry entry;
  entry.path = "a";
  ASSERT_TRUE(builder.Add(entry).has_value());
  ASSERT_TRUE(builder.Finish({}).has_value());
  const auto second = builder.Finish({});
  ASSERT_TRUE(second.has_value());
  const auto index = Index::Open(*second);
  ASSERT_TRUE(index.has_value());
  EXPECT_EQ(index->inode_count(), 1U);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// The merge's rules (OCI image-spec layer.md and what containerd and overlayfs add), each as small
// tars and the merged tree's text.
#include "index/merge.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/index/layer_stack.h"

namespace layerfs {
namespace {

struct MergeCase {
  const char* name;
  std::vector<TarWriter> layers;
  std::string expected;
};

void PrintTo(const MergeCase& merge_case, std::ostream* out) { *out << merge_case.name; }

std::string NameOf(const testing::TestParamInfo<MergeCase>& info) { return info.param.name; }

std::vector<Bytes> Finished(const std::vector<TarWriter>& layers) {
  std::vector<Bytes> tars;
  for (const TarWriter& layer : layers) tars.push_back(layer.Finish());
  return tars;
}

// Without the layer's digest, which a reader of the expectation would not recognize.
std::string ErrorOf(const Error& error) {
  const size_t digest = error.context.find(": ", error.context.find("sha256:"));
  return digest == std::string::npos ? error.context : error.context.substr(digest + 2);
}

std::string DumpStack(const std::vector<TarWriter>& layers) {
  const std::vector<Bytes> tars = Finished(layers);
  const auto index = MergeTars(tars);
  if (!index.has_value()) return "error: " + ErrorOf(index.error());
  return IndexDump(*index, tars).Text();
}

class MergeRules : public testing::TestWithParam<MergeCase> {};

TEST_P(MergeRules, GiveTheTree) { EXPECT_EQ(DumpStack(GetParam().layers), GetParam().expected); }

// One layer more at a time, each from the tree's bytes, gives the same as all at once.
TEST_P(MergeRules, HoldFromIndexToIndex) {
  const std::vector<Bytes> tars = Finished(GetParam().layers);
  auto tree = MergeTars({});
  ASSERT_TRUE(tree.has_value()) << tree.error().context;
  for (const Bytes& tar : tars) {
    const auto layer = BuildLayer(tar);
    ASSERT_TRUE(layer.has_value()) << layer.error().context;
    auto merged = Merge(*tree, *layer, BlobOf(tar));
    if (!merged.has_value()) {
      EXPECT_EQ("error: " + ErrorOf(merged.error()), GetParam().expected);
      return;
    }
    tree = Index::Open(std::move(*merged));
    ASSERT_TRUE(tree.has_value()) << tree.error().context;
  }
  EXPECT_EQ(IndexDump(*tree, tars).Text(), GetParam().expected);
  const auto at_once = MergeTarBytes(tars);
  ASSERT_TRUE(at_once.has_value());
  EXPECT_TRUE(std::ranges::equal(*at_once, tree->bytes()));
}

TarItem WithXattr(std::string path, char type, std::string value) {
  return {.path = std::move(path), .type = type, .mode = 0755, .xattrs = {{"user.k", value}}};
}

const MergeCase kReplaceCases[] = {
    {"NoLayers", {}, ""},
    {"UpperFileReplaces", {TarWriter().File("a", "1"), TarWriter().File("a", "2")}, "a = 2\n"},
    {"DirectoriesMerge",
     {TarWriter().Directory("d").File("d/a").File("d/b", "1"),
      TarWriter().Directory("d", 0700).File("d/b", "2").File("d/c")},
     "d/ 0700\nd/a = \nd/b = 2\nd/c = \n"},
    {"UpperDirectoryReplacesXattrs",
     {TarWriter().Add(WithXattr("d", '5', "1")), TarWriter().Directory("d")},
     "d/\n"},
    {"ImpliedDirectoryKeepsLowerAttributes",
     {TarWriter().Add(WithXattr("d", '5', "1")).File("d/a"), TarWriter().File("d/b")},
     "d/ {user.k=1}\nd/a = \nd/b = \n"},
    {"ImpliedDirectoryOverNothingIs0755", {TarWriter().File("d/e/f")}, "d/\nd/e/\nd/e/f = \n"},
    {"RootsAttributesComeFromTheUppermost",
     {TarWriter().Directory(".", 0700), TarWriter().Directory(".", 0711), TarWriter().File("a")},
     "/ 0711\na = \n"},
    {"FileOverDirectoryRemovesWhatIsBelow",
     {TarWriter().File("d/e/f"), TarWriter().File("d", "file")},
     "d = file\n"},
    {"DirectoryOverFile", {TarWriter().File("d", "file"), TarWriter().Directory("d")}, "d/\n"},
    {"SymlinkOverDirectory", {TarWriter().File("d/f"), TarWriter().Symlink("d", "e")}, "d -> e\n"},
    {"DirectoryOverSymlink",
     {TarWriter().File("e/f").Symlink("d", "e"), TarWriter().Directory("d").File("d/g")},
     "d/\nd/g = \ne/\ne/f = \n"},
    {"DeviceOverFile", {TarWriter().File("n"), TarWriter().Device("n", '3', 1, 3)}, "n c 1:3\n"},
    {"DirectoryAgainAfterAFileInOneLayerHidesTheLower",
     {TarWriter().File("d/a"), TarWriter().File("d").Directory("d").File("d/b")},
     "d/\nd/b = \n"},
};
INSTANTIATE_TEST_SUITE_P(Replace, MergeRules, testing::ValuesIn(kReplaceCases), NameOf);

const MergeCase kWhiteoutCases[] = {
    {"WhiteoutRemovesAFile",
     {TarWriter().File("a").File("b"), TarWriter().File(".wh.a")},
     "b = \n"},
    {"WhiteoutRemovesADirectoryAndAllBelow",
     {TarWriter().File("d/e/f").File("d/g").File("h"), TarWriter().File(".wh.d")},
     "h = \n"},
    {"WhiteoutOfNothingIsNothing", {TarWriter().File("a"), TarWriter().File(".wh.b")}, "a = \n"},
    {"WhiteoutInAMissingDirectoryMakesIt", {TarWriter().File("d/e/.wh.f")}, "d/\nd/e/\n"},
    {"WhiteoutInTheLowestLayerIsNothing", {TarWriter().File("a").File(".wh.b")}, "a = \n"},
    {"WhiteoutBesideAFileKeepsIt",
     {TarWriter().File("a", "1"), TarWriter().File("a", "2").File(".wh.a")},
     "a = 2\n"},
    {"WhiteoutBesideADirectoryHidesTheLowerOne",
     {TarWriter().File("d/a"), TarWriter().Directory("d").File("d/b").File(".wh.d")},
     "d/\nd/b = \n"},
    {"WhiteoutBesideAnImpliedDirectoryHidesTheLowerOne",
     {TarWriter().Directory("d", 0700).File("d/a"), TarWriter().File("d/b").File(".wh.d")},
     "d/\nd/b = \n"},
    {"WhiteoutBesideAnImpliedDirectoryHidesTheLowerSymlink",
     {TarWriter().File("e/a").Symlink("d", "e"), TarWriter().File(".wh.d").File("d/b")},
     "d/\nd/b = \ne/\ne/a = \n"},
    {"OpaqueHidesAllLowerChildren",
     {TarWriter().File("d/a").File("d/e/f"),
      TarWriter().Directory("d").File("d/b").File("d/.wh..wh..opq")},
     "d/\nd/b = \n"},
    {"OpaqueMarkerFirstIsTheSame",
     {TarWriter().File("d/a").File("d/e/f"),
      TarWriter().File("d/.wh..wh..opq").Directory("d").File("d/b")},
     "d/\nd/b = \n"},
    {"OpaqueKeepsTheAttributesOfAnImpliedDirectory",
     {TarWriter().Directory("d", 0700).File("d/a"), TarWriter().File("d/.wh..wh..opq")},
     "d/ 0700\n"},
    {"OpaqueOfASubdirectoryThatStays",
     {TarWriter().File("d/e/a").File("d/b"), TarWriter().File("d/e/c").File("d/e/.wh..wh..opq")},
     "d/\nd/b = \nd/e/\nd/e/c = \n"},
    {"OpaqueHidesOnlyLowerLayers",
     {TarWriter().File("d/a"), TarWriter().File("d/b").File("d/.wh..wh..opq"),
      TarWriter().File("d/c")},
     "d/\nd/b = \nd/c = \n"},
    {"OpaqueRoot",
     {TarWriter().File("a/b").File("c"), TarWriter().File(".wh..wh..opq").File("d")},
     "d = \n"},
    {"RemovedAndMadeAgainAbove",
     {TarWriter().Directory("d", 0700).File("d/a"), TarWriter().File(".wh.d"),
      TarWriter().File("d/b")},
     "d/\nd/b = \n"},
    {"AufsLeftoversAreIgnored",
     {TarWriter().File("a"), TarWriter().File(".wh..wh.aufs").File(".wh..wh.plnk/1.2")},
     "a = \n"},
};
INSTANTIATE_TEST_SUITE_P(Whiteouts, MergeRules, testing::ValuesIn(kWhiteoutCases), NameOf);

const MergeCase kSymlinkCases[] = {
    {"ImpliedDirectoryOverSymlinkFollowsIt",
     {TarWriter().Directory("usr/lib", 0711).Symlink("lib", "usr/lib"),
      TarWriter().File("lib/x").Directory("lib/d")},
     "lib -> usr/lib\nusr/\nusr/lib/ 0711\nusr/lib/d/\nusr/lib/x = \n"},
    {"ImpliedDirectoryOverSymlinkReplacesThere",
     {TarWriter().File("e/x", "1").Symlink("d", "/e"), TarWriter().File("d/x", "2")},
     "d -> /e\ne/\ne/x = 2\n"},
    {"WhiteoutThroughASymlink",
     {TarWriter().File("e/x").File("e/y").Symlink("d", "e"), TarWriter().File("d/.wh.x")},
     "d -> e\ne/\ne/y = \n"},
    {"OpaqueThroughASymlink",
     {TarWriter().File("e/x").Symlink("d", "e"), TarWriter().File("d/.wh..wh..opq").File("d/z")},
     "d -> e\ne/\ne/z = \n"},
    {"DeadSymlinkGetsItsDirectories",
     {TarWriter().Symlink("d", "e/f"), TarWriter().File("d/x")},
     "d -> e/f\ne/\ne/f/\ne/f/x = \n"},
    {"SymlinkThatUpDoesNotLeaveTheRoot",
     {TarWriter().Symlink("d", "../../e"), TarWriter().File("d/x")},
     "d -> ../../e\ne/\ne/x = \n"},
    {"SymlinksBehindSymlinksAreFollowed",
     {TarWriter().File("t/a").Symlink("d", "e").Symlink("e", "t").Symlink("t/f", "/g"),
      TarWriter().File("d/f/x")},
     "d -> e\ne -> t\ng/\ng/x = \nt/\nt/a = \nt/f -> /g\n"},
    {"ThingsOfTheSameLayerAreMetBehindTheSymlink",
     {TarWriter().Symlink("d", "n/m"), TarWriter().File("d/x").Directory("n", 0700)},
     "d -> n/m\nn/ 0700\nn/m/\nn/m/x = \n"},
    {"SymlinkLoopGivesWayToTheDirectory",
     {TarWriter().Symlink("d", "e").Symlink("e", "d"), TarWriter().File("d/x")},
     "d/\nd/x = \ne -> d\n"},
    {"SymlinkToAFileGivesWayToTheDirectory",
     {TarWriter().File("f", "1").Symlink("d", "f"), TarWriter().File("d/x")},
     "d/\nd/x = \nf = 1\n"},
    {"FileGivesWayToAnImpliedDirectory",
     {TarWriter().File("d", "1"), TarWriter().File("d/x")},
     "d/\nd/x = \n"},
};
INSTANTIATE_TEST_SUITE_P(Symlinks, MergeRules, testing::ValuesIn(kSymlinkCases), NameOf);

const MergeCase kHardLinkCases[] = {
    {"LinkIntoALowerLayer",
     {TarWriter().File("a", "1"), TarWriter().HardLink("b", "a")},
     "a = 1\nb => a\n"},
    {"LinkToALowerSymlinkSharesIt",
     {TarWriter().Symlink("s", "t"), TarWriter().HardLink("b", "s")},
     "b -> t\ns => b\n"},
    {"LinkThroughALowerSymlink",
     {TarWriter().File("e/f", "1").Symlink("d", "e"), TarWriter().HardLink("b", "d/f")},
     "b = 1\nd -> e\ne/\ne/f => b\n"},
    {"LinkToWhatTheLayerPutsBehindALowerSymlink",
     {TarWriter().Directory("e").Symlink("d", "e"),
      TarWriter().File("d/f", "1").HardLink("b", "e/f")},
     "b = 1\nd -> e\ne/\ne/f => b\n"},
    {"LinkToWhatTheLayerReplacesBehindALowerSymlink",
     {TarWriter().File("e/f", "1").Symlink("d", "e"),
      TarWriter().File("d/f", "2").HardLink("b", "e/f")},
     "b = 2\nd -> e\ne/\ne/f => b\n"},
    {"LinkBeforeTheTargetIsReplacedKeepsTheLowerFile",
     {TarWriter().File("a", "1"), TarWriter().HardLink("b", "a").File("a", "2")},
     "a = 2\nb = 1\n"},
    {"LinkBeforeTheTargetsParentIsReplacedKeepsTheLowerFile",
     {TarWriter().File("d/a", "1").File("e/a", "3"),
      TarWriter().HardLink("b", "d/a").Symlink("d", "e")},
     "b = 1\nd -> e\ne/\ne/a = 3\n"},
    {"LinkAndWhiteoutIsARename",
     {TarWriter().File("a", "1"), TarWriter().HardLink("b", "a").File(".wh.a")},
     "b = 1\n"},
    {"LinksThatSwapPlaces",
     {TarWriter().File("a", "1").File("b", "2"),
      TarWriter().HardLink("c", "a").HardLink("a", "b").HardLink("b", "c")},
     "a = 2\nb = 1\nc => b\n"},
    {"SeveralLinksToOneLowerFile",
     {TarWriter().File("a", "1"),
      TarWriter().HardLink("b", "a").HardLink("d/c", "a").HardLink("e", "b")},
     "a = 1\nb => a\nd/\nd/c => a\ne => a\n"},
    {"ReplacedNameLeavesTheOthers",
     {TarWriter().File("a", "1").HardLink("b", "a").HardLink("c", "a"), TarWriter().File("b", "2")},
     "a = 1\nb = 2\nc => a\n"},
    {"WhitedOutNameLeavesTheOthers",
     {TarWriter().File("a", "1").HardLink("b", "a"), TarWriter().File(".wh.a")},
     "b = 1\n"},
    {"OneNameGivenNewAttributesLeavesTheOthers",
     {TarWriter().File("a", "1").HardLink("b", "a"), TarWriter().File("a", "1", 0600)},
     "a = 1 0600\nb = 1\n"},
    {"LinkOverAnotherNameOfItself",
     {TarWriter().File("a", "1").HardLink("b", "a"), TarWriter().HardLink("b", "a")},
     "a = 1\nb => a\n"},
    {"LinkToNowhere",
     {TarWriter().File("a"), TarWriter().HardLink("d/b", "x/y")},
     "error: hard link 'd/b': its target 'x/y' does not exist"},
    {"LinkInTheLowestLayerToNowhere",
     {TarWriter().HardLink("b", "a")},
     "error: hard link 'b': its target 'a' does not exist"},
    {"LinkToALaterFileOfTheLayer",
     {TarWriter().HardLink("b", "a").File("a")},
     "error: hard link 'b': its target 'a' does not exist"},
    {"LinkToALowerDirectory",
     {TarWriter().Directory("d"), TarWriter().HardLink("b", "d")},
     "error: hard link 'b': its target 'd' is a directory"},
    {"LinksInACircle",
     {TarWriter().Directory("e").Symlink("d", "e"),
      TarWriter().HardLink("d/a", "e/b").HardLink("d/b", "e/a")},
     "error: hard link 'e/a': its target 'e/b' goes in circles"},
};
INSTANTIATE_TEST_SUITE_P(HardLinks, MergeRules, testing::ValuesIn(kHardLinkCases), NameOf);

uint32_t Nlink(const Index& tree, std::string_view path) {
  const auto inode = ResolvePath(tree, path, false);
  return inode.has_value() ? tree.Get(*inode).nlink : 0;
}

TEST(MergeTest, LinkCountsAreThoseOfTheTree) {
  const std::vector<Bytes> tars = Finished(
      {TarWriter().File("a", "1").HardLink("b", "a").HardLink("c", "a").Directory("d/e").Directory(
           "d/f"),
       TarWriter().File(".wh.b").HardLink("g", "a").HardLink("h", "a").File("d/.wh.e")});
  const auto tree = MergeTars(tars);
  ASSERT_TRUE(tree.has_value()) << tree.error().context;
  EXPECT_EQ(Nlink(*tree, "a"), 4U);
  EXPECT_EQ(Nlink(*tree, "/"), 3U);
  EXPECT_EQ(Nlink(*tree, "d"), 3U);
  EXPECT_EQ(Nlink(*tree, "d/f"), 2U);
}

TEST(MergeTest, LayersAndSegmentsStandInOrderWithTheirBlobs) {
  const std::vector<Bytes> tars = Finished(
      {TarWriter().File("a", "1"), TarWriter().File("a", "2"), TarWriter().File("b", "3")});
  const auto tree = MergeTars(tars);
  ASSERT_TRUE(tree.has_value()) << tree.error().context;
  ASSERT_EQ(tree->layers().size(), 3U);
  ASSERT_EQ(tree->segment_count(), 3U);
  for (uint16_t i = 0; i < 3; ++i) {
    EXPECT_EQ(tree->layers()[i].blob, Digest::Of(tars[i]));
    EXPECT_EQ(tree->layers()[i].blob_size, tars[i].size());
    EXPECT_EQ(tree->layers()[i].diff_id, Digest::Of(tars[i]));
    EXPECT_EQ(tree->layers()[i].first_segment, i);
    EXPECT_EQ(tree->Segment(i).ref.digest, Digest::Of(tars[i]));
    EXPECT_EQ(ToUint(tree->Segment(i).layer), i);
    EXPECT_EQ(tree->FindSegment(LayerNumber(i), 0), i);
  }
}

TEST(MergeTest, NumbersADirectoryBeforeItsChildrenAndThoseInARow) {
  const std::vector<Bytes> tars =
      Finished({TarWriter().File("b/y").File("b/x/1").File("a/z").File("c")});
  const auto tree = MergeTars(tars);
  ASSERT_TRUE(tree.has_value()) << tree.error().context;
  const char* const expected[] = {"/", "a", "b", "c", "a/z", "b/x", "b/y", "b/x/1"};
  uint32_t number = 1;
  for (const char* path : expected) {
    const auto inode = ResolvePath(*tree, path, false);
    ASSERT_TRUE(inode.has_value()) << path;
    EXPECT_EQ(ToUint(*inode), number++) << path;
  }
}

TEST(MergeTest, ErrorNamesTheLayer) {
  const Bytes tar = TarWriter().HardLink("b", "a").Finish();
  const auto tree = MergeTars({&tar, 1});
  ASSERT_FALSE(tree.has_value());
  EXPECT_EQ(tree.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(tree.error().context, "layer " + Digest::Of(tar).ToString() +
                                      ": hard link 'b': its target 'a' does not exist");
}

TEST(MergeTest, TakesLayersAndGoesOnFromTreesOnly) {
  const Bytes tar = TarWriter().File("a").Finish();
  const auto layer = BuildLayer(tar);
  const auto tree = MergeTars({&tar, 1});
  ASSERT_TRUE(layer.has_value() && tree.has_value());
  EXPECT_EQ(TreeMerger::From(*layer).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(TreeMerger().Apply(*tree, {}).error().code, ErrorCode::kInvalidArgument);
}

// Depth comes together where symlinks lead one deep directory into another.
TEST(MergeTest, DepthIsBoundedThroughSymlinks) {
  std::string deep;
  for (int i = 0; i < 2047; ++i) deep += "d/";
  const std::vector<Bytes> tars = Finished(
      {TarWriter().Directory(deep).Symlink("l", deep), TarWriter().File("l/" + deep + "d/d/d/f")});
  const auto tree = MergeTars(tars);
  ASSERT_FALSE(tree.has_value());
  EXPECT_EQ(tree.error().code, ErrorCode::kTooLarge);
}

TEST(MergeTest, DirectoryOf100000NamesMerges) {
  TarWriter lower, upper;
  for (int i = 0; i < 100'000; ++i) lower.File("d/" + std::to_string(i));
  for (int i = 0; i < 100'000; i += 2) upper.File("d/.wh." + std::to_string(i));
  const std::vector<Bytes> tars = Finished({lower, upper});
  const auto tree = MergeTars(tars);
  ASSERT_TRUE(tree.has_value()) << tree.error().context;
  const auto directory = ResolvePath(*tree, "d", false);
  ASSERT_TRUE(directory.has_value());
  EXPECT_EQ(tree->Get(*directory).entry_count, 50'000U);
  EXPECT_TRUE(tree->Lookup(*directory, "99999").has_value());
  EXPECT_FALSE(tree->Lookup(*directory, "99998").has_value());
}

}  // namespace
}  // namespace layerfs

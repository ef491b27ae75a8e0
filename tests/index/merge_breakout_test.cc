// SPDX-License-Identifier: Apache-2.0
// Archives that try to reach outside the root, or to trip an extractor over its own symlinks: the
// cases that containerd's archive tests name, by meaning. What containerd confines to the root is
// confined here or refused with a message; nothing else may become of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/index/layer_stack.h"

namespace layerfs {
namespace {

using ::testing::HasSubstr;

struct Breakout {
  const char* name;
  TarWriter base;  // what is there before
  TarWriter layer;
  std::string expected;  // the tree's text, or "error: " and a part of the message
};

void PrintTo(const Breakout& breakout, std::ostream* out) { *out << breakout.name; }

class Breakouts : public testing::TestWithParam<Breakout> {};

TEST_P(Breakouts, StayInsideOrAreRefused) {
  const std::vector<Bytes> tars = {GetParam().base.Finish(), GetParam().layer.Finish()};
  const std::string actual = DumpMerged(tars);
  if (GetParam().expected.starts_with("error: ")) {
    EXPECT_THAT(actual, ::testing::StartsWith("error: "));
    EXPECT_THAT(actual, HasSubstr(GetParam().expected.substr(7)));
  } else {
    EXPECT_EQ(actual, GetParam().expected);
  }
}

// The same entries as one layer. Only whiteouts make a difference between lower and own entries.
class BreakoutsInOneLayer : public Breakouts {};

TEST_P(BreakoutsInOneLayer, StayInsideOrAreRefused) {
  const Bytes layer = GetParam().layer.WithoutEndMarker();
  const Bytes tar = TarWriter(GetParam().base).Raw(AsText(layer)).Finish();
  const std::string actual = DumpMerged({&tar, 1});
  if (GetParam().expected.starts_with("error: ")) {
    EXPECT_THAT(actual, HasSubstr(GetParam().expected.substr(7)));
  } else {
    EXPECT_EQ(actual, GetParam().expected);
  }
}

TarWriter Etc() { return TarWriter().Directory("etc").File("/etc/passwd", "inside"); }
TarWriter Nothing() { return {}; }

const Breakout kSymlinks[] = {
    {"SymlinkAbsolute", Nothing(),
     TarWriter().Directory("etc").Symlink("localetc", "/etc").File("/localetc/unbroken", "ok"),
     "etc/\netc/unbroken = ok\nlocaletc -> /etc\n"},
    {"SymlinkUpAndOut", Nothing(),
     TarWriter()
         .Directory("etc")
         .Directory("dummy")
         .Symlink("localetc", "/dummy/../etc")
         .File("/localetc/unbroken", "ok"),
     "dummy/\netc/\netc/unbroken = ok\nlocaletc -> /dummy/../etc\n"},
    {"SymlinkMultipleAbsolute", Nothing(),
     TarWriter()
         .Directory("etc")
         .Directory("dummy")
         .Symlink("/dummy/etc", "/etc")
         .Symlink("localetc", "/dummy/etc")
         .File("/dummy/etc/unbroken", "ok"),
     "dummy/\ndummy/etc -> /etc\netc/\netc/unbroken = ok\nlocaletc -> /dummy/etc\n"},
    {"SymlinkMultipleRelative", Nothing(),
     TarWriter()
         .Directory("etc")
         .Directory("dummy")
         .Symlink("/dummy/etc", "/etc")
         .Symlink("localetc", "./dummy/etc")
         .File("/localetc/unbroken", "ok"),
     "dummy/\ndummy/etc -> /etc\netc/\netc/unbroken = ok\nlocaletc -> ./dummy/etc\n"},
    {"SymlinkEmptyFile", Nothing(),
     TarWriter()
         .Directory("etc")
         .File("etc/emptied", "notempty")
         .Symlink("localetc", "/etc")
         .File("/localetc/emptied", ""),
     "etc/\netc/emptied = \nlocaletc -> /etc\n"},
    {"SymlinkParentDirectory", Etc(),
     TarWriter().Symlink("..", "/etc/").HardLink("localpasswd", "/etc/passwd"),
     "error: entry '..' at tar offset "},
    {"SymlinkEmptyFilename", Etc(),
     TarWriter().Symlink("", "/etc/").HardLink("localpasswd", "/etc/passwd"),
     "error: the root is not a directory"},
    {"SymlinkParentRelative", Etc(),
     TarWriter()
         .Symlink("localetc/sub/..", "/etc/")
         .HardLink("/localetc/localpasswd", "/etc/passwd"),
     "error: the path contains \"..\""},
    {"SymlinkSlashEnded", Etc(),
     TarWriter().Directory("localetc/").HardLink("/localetc/localpasswd", "/etc/passwd"),
     "etc/\netc/passwd = inside\nlocaletc/\nlocaletc/localpasswd => etc/passwd\n"},
    {"SymlinkOverrideDirectory", Etc().Directory("localetc"),
     TarWriter().Symlink("localetc", "/etc").HardLink("/localetc/localpasswd", "/etc/passwd"),
     "etc/\netc/localpasswd = inside\netc/passwd => etc/localpasswd\nlocaletc -> /etc\n"},
    {"SymlinkOverrideDirectoryRelative", Etc().Directory("localetc"),
     TarWriter().Symlink("localetc", "../../etc").HardLink("/localetc/localpasswd", "/etc/passwd"),
     "etc/\netc/localpasswd = inside\netc/passwd => etc/localpasswd\nlocaletc -> ../../etc\n"},
    {"SymlinkOverridePath", Etc().Symlink("a", "/etc"),
     TarWriter().Symlink("a/passwd", "/outside").File("a/passwd", "new"),
     "a -> /etc\netc/\netc/passwd = new\n"},
    {"DirectoryOverrideSymlink", Etc().Symlink("localetc", "/etc"),
     TarWriter().Directory("/localetc/").HardLink("/localetc/localpasswd", "/etc/passwd"),
     "etc/\netc/passwd = inside\nlocaletc/\nlocaletc/localpasswd => etc/passwd\n"},
    {"DirectoryOverrideSymlinkAndHardlink",
     Etc().Symlink("localetc", "etc").HardLink("localetc/localpasswd", "/etc/passwd"),
     TarWriter().Directory("/localetc/").File("/localetc/localpasswd", "different"),
     "etc/\netc/localpasswd = inside\netc/passwd => etc/localpasswd\n"
     "localetc/\nlocaletc/localpasswd = different\n"},
};
INSTANTIATE_TEST_SUITE_P(Symlinks, Breakouts, testing::ValuesIn(kSymlinks),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Symlinks, BreakoutsInOneLayer, testing::ValuesIn(kSymlinks),
                         [](const auto& info) { return info.param.name; });

const Breakout kHardLinks[] = {
    {"HardlinkRelative", Etc(),
     TarWriter()
         .Directory("breakouts")
         .Symlink("breakouts/d1", "../../etc")
         .HardLink("breakouts/mypasswd", "/breakouts/d1/passwd"),
     "breakouts/\nbreakouts/d1 -> ../../etc\nbreakouts/mypasswd = inside\n"
     "etc/\netc/passwd => breakouts/mypasswd\n"},
    {"HardlinkDownAndOut", Etc(),
     TarWriter()
         .Directory("breakouts")
         .Directory("downandout")
         .Symlink("breakouts/d1", "../downandout/../../etc")
         .HardLink("breakouts/mypasswd", "/breakouts/d1/passwd"),
     "breakouts/\nbreakouts/d1 -> ../downandout/../../etc\nbreakouts/mypasswd = inside\n"
     "downandout/\netc/\netc/passwd => breakouts/mypasswd\n"},
    {"HardlinkAbsolute", Etc(),
     TarWriter().Symlink("localetc", "/etc").HardLink("localpasswd", "/localetc/passwd"),
     "etc/\netc/passwd = inside\nlocaletc -> /etc\nlocalpasswd => etc/passwd\n"},
    {"HardlinkRelativeLong", Etc(),
     TarWriter()
         .Symlink("localetc", "../../../../../../../etc")
         .HardLink("localpasswd", "/localetc/passwd"),
     "etc/\netc/passwd = inside\nlocaletc -> ../../../../../../../etc\n"
     "localpasswd => etc/passwd\n"},
    {"HardlinkRelativeUpAndOut", Etc(),
     TarWriter()
         .Symlink("localetc", "upandout/../../../etc")
         .HardLink("localpasswd", "/localetc/passwd"),
     "etc/\netc/passwd = inside\nlocaletc -> upandout/../../../etc\nlocalpasswd => etc/passwd\n"},
    {"HardlinkDirectRelative", Etc(),
     TarWriter().HardLink("localpasswd", "../../../../../etc/passwd"),
     "etc/\netc/passwd = inside\nlocalpasswd => etc/passwd\n"},
    {"HardlinkDirectAbsolute", Etc(), TarWriter().HardLink("localpasswd", "/etc/passwd"),
     "etc/\netc/passwd = inside\nlocalpasswd => etc/passwd\n"},
    {"HardlinkSymlinkBeforeCreateTarget", Nothing(),
     TarWriter()
         .Directory("etc")
         .Symlink("localpasswd", "/etc/passwd")
         .HardLink("localpasswd-dup", "localpasswd")
         .File("/etc/passwd", "after"),
     "etc/\netc/passwd = after\nlocalpasswd -> /etc/passwd\nlocalpasswd-dup => localpasswd\n"},
    {"HardlinkSymlinkRelative", Etc(),
     TarWriter()
         .Symlink("passwdlink", "../../../../../etc/passwd")
         .HardLink("localpasswd", "/passwdlink"),
     "etc/\netc/passwd = inside\nlocalpasswd -> ../../../../../etc/passwd\n"
     "passwdlink => localpasswd\n"},
    {"HardlinkSymlinkAbsolute", Etc(),
     TarWriter().Symlink("passwdlink", "/etc/passwd").HardLink("localpasswd", "/passwdlink"),
     "etc/\netc/passwd = inside\nlocalpasswd -> /etc/passwd\npasswdlink => localpasswd\n"},
    // The link's header would change the mode of what the symlink leads to.
    {"HardlinkSymlinkChmod", TarWriter().File("victim", "...", 0400),
     TarWriter()
         .Symlink("link", "/victim")
         .Add({.path = "sketchylink", .type = '1', .link_target = "link", .mode = 0777}),
     "link -> /victim\nsketchylink => link\nvictim = ... 0400\n"},
};
INSTANTIATE_TEST_SUITE_P(HardLinks, Breakouts, testing::ValuesIn(kHardLinks),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(HardLinks, BreakoutsInOneLayer, testing::ValuesIn(kHardLinks),
                         [](const auto& info) { return info.param.name; });

const Breakout kWhiteouts[] = {
    {"WhiteoutRootParent", Etc(), TarWriter().File(".wh..."), "error: entry '.wh...'"},
    {"WhiteoutParent", Etc(), TarWriter().File("etc/.wh..."), "error: entry 'etc/.wh...'"},
    {"WhiteoutRoot", Etc(), TarWriter().File(".wh.."), "error: entry '.wh..'"},
    {"WhiteoutCurrentDirectory", Etc(), TarWriter().File("etc/.wh.."), "error: entry 'etc/.wh..'"},
    {"WhiteoutSymlink", Etc().Symlink("localetc", "/etc"), TarWriter().File(".wh.localetc"),
     "etc/\netc/passwd = inside\n"},
    {"WhiteoutSymlinkPath", Etc().File("etc/whitedout", "x").Symlink("localetc", "/etc"),
     TarWriter().File("localetc/.wh.whitedout"), "etc/\netc/passwd = inside\nlocaletc -> /etc\n"},
    {"WhiteoutDirectoryName", Etc(), TarWriter().File(".wh.etc/somefile", "non-empty"),
     ".wh.etc/\n.wh.etc/somefile = non-empty\netc/\netc/passwd = inside\n"},
    {"WhiteoutDeadSymlinkParent", Etc().Symlink("localetc", "/dne"),
     TarWriter().File("localetc/.wh.etc"), "dne/\netc/\netc/passwd = inside\nlocaletc -> /dne\n"},
    {"WhiteoutRelativePath", Etc().Symlink("localetc", "/dne"), TarWriter().File("dne/../.wh.etc"),
     "error: the path contains \"..\""},
};
INSTANTIATE_TEST_SUITE_P(Whiteouts, Breakouts, testing::ValuesIn(kWhiteouts),
                         [](const auto& info) { return info.param.name; });

// What containerd's differ writes, applied: parents are included for the sake of what is below.
const Breakout kDiffs[] = {
    {"WhiteoutIncludesParents",
     TarWriter().File("d1/f1", "content").File("d2/f1").File("d2/f2", "content").File("d5/f1"),
     TarWriter()
         .Directory("d1")
         .File("d1/.wh.f1")
         .Directory("d2")
         .File("d2/.wh.f1")
         .File("d2/f2", "content", 0777)
         .File(".wh.d5"),
     "d1/\nd2/\nd2/f2 = content 0777\n"},
    {"WhiteoutParentRemoval", TarWriter().Directory("d1").File("d2/f1"),
     TarWriter().File(".wh.d1").File(".wh.d2").Directory("d3"), "d3/\n"},
    {"ParentInclusion", TarWriter().Directory("d1").Directory("d2", 0770),
     TarWriter().Directory("d1").Directory("d1/d", 0700).Directory("d2", 0770).File("d2/f", "ok"),
     "d1/\nd1/d/ 0700\nd2/ 0770\nd2/f = ok\n"},
    {"HardlinkParentInclusion",
     TarWriter()
         .File("d1/f1", "link me")
         .File("d2/f1", "link me")
         .Directory("d6")
         .HardLink("d6/l1", "d1/f1"),
     TarWriter()
         .Directory("d2")
         .File("d2/l1", "link me")
         .Directory("d1")
         .HardLink("d1/f1", "d2/l1")
         .Directory("d6")
         .File("d6/.wh.l1"),
     "d1/\nd1/f1 = link me\nd2/\nd2/f1 = link me\nd2/l1 => d1/f1\nd6/\n"},
    {"HardlinkUpdatedParent", TarWriter().File("d1/f1", "link me").Directory("d2"),
     TarWriter()
         .Directory("d1", 0777)
         .Directory("d2")
         .File("d2/l1", "link me")
         .HardLink("d1/f1", "d2/l1"),
     "d1/ 0777\nd1/f1 = link me\nd2/\nd2/l1 => d1/f1\n"},
    {"UpdateDirectoryPermission", TarWriter().Directory("d1").Directory("d2", 0770),
     TarWriter()
         .Directory("d1", 0777)
         .Directory("d1/d", 0700)
         .Directory("d2", 0770)
         .File("d2/f", "ok"),
     "d1/ 0777\nd1/d/ 0700\nd2/ 0770\nd2/f = ok\n"},
};
INSTANTIATE_TEST_SUITE_P(Diffs, Breakouts, testing::ValuesIn(kDiffs),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

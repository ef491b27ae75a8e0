// SPDX-License-Identifier: Apache-2.0
// Tars that real tools make of a real directory: every entry must say what lstat says, and its
// bytes must lie in the tar where it says. Needs GNU tar; bsdtar's rows are skipped without it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "index/base/file.h"
#include "index/tar_parser.h"
#include "tests/index/tar_parse_helper.h"

namespace layerfs {
namespace {

namespace stdfs = std::filesystem;

struct RealCase {
  std::string name;
  std::string command;  // "-f TAR -C DIRECTORY ." is appended
  bool is_v7 = false;
  bool long_names = true;
  bool nanoseconds = false;
  bool xattrs = false;
  bool sparse = false;
};
void PrintTo(const RealCase& real, std::ostream* out) { *out << real.name; }

constexpr std::string_view kSparseName = "./sparse";
constexpr uint64_t kHoleSize = 1 << 20;
const std::string kXattrValue("a\0=\n\xff", 5);

class RealTar : public testing::TestWithParam<RealCase> {
 protected:
  RealTar() {
    std::string pattern = (stdfs::temp_directory_path() / "layerfs-tar-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    tree_ = root_ + "/tree";
  }
  ~RealTar() override { stdfs::remove_all(root_); }

  std::string InTree(const std::string& name) const { return tree_ + "/" + name; }

  void Write(const std::string& name, std::string_view text, mode_t mode = 0644) {
    ASSERT_TRUE(WriteFileAtomically(InTree(name), AsBytes(text)).has_value());
    ASSERT_EQ(::chmod(InTree(name).c_str(), mode), 0);
  }

  void WriteSparse() {
    const Result<UniqueFd> fd = OpenFile(InTree("sparse"), O_RDWR | O_CREAT);
    ASSERT_TRUE(fd.has_value());
    // More runs than an old GNU header holds, so that it needs an extension block.
    for (uint64_t i = 0; i < 6; ++i) {
      ASSERT_TRUE(WriteFullAt(fd->get(), i * kHoleSize, AsBytes("data behind a hole")).has_value());
    }
    ASSERT_EQ(::ftruncate(fd->get(), 6 * kHoleSize + 12345), 0);
  }

  void MakeTree() {
    ASSERT_TRUE(MakeDirectories(InTree("dir")).has_value());
    ASSERT_EQ(::chmod(InTree("dir").c_str(), 01751), 0);
    Write("empty", "");
    Write("dir/block", std::string(512, 'b'));
    Write("dir/setuid", std::string(70000, 's'), 04755);
    Write("caf\xe9", "name in Latin-1");
    ASSERT_EQ(::link(InTree("dir/setuid").c_str(), InTree("hard").c_str()), 0);
    ASSERT_EQ(::symlink("../nowhere", InTree("dir/symlink").c_str()), 0);
    ASSERT_TRUE(GetParam().is_v7 || ::mkfifo(InTree("fifo").c_str(), 0600) == 0);
    WriteSparse();
    if (GetParam().long_names) {
      Write(std::string(150, 'n'), "long name");
      ASSERT_EQ(::symlink(std::string(150, 't').c_str(), InTree("long-target").c_str()), 0);
    }
    const struct timespec times[2] = {{1, 0}, {1234567890, 123456789}};
    ASSERT_EQ(::utimensat(AT_FDCWD, InTree("dir/block").c_str(), times, 0), 0);
    has_xattrs_ = ::setxattr(InTree("dir/block").c_str(), "user.layerfs", kXattrValue.data(),
                             kXattrValue.size(), 0) == 0;
    // Without ACLs in the tar, bsdtar cannot even save the mode of a file that has one.
    const std::string set_acl = "setfacl -m u:1234:r -m g:root:rw '" + InTree("dir/setuid") + "'";
    has_acl_ = GetParam().xattrs && std::system((set_acl + " >/dev/null 2>&1").c_str()) == 0;
  }

  Bytes MakeTar() {
    const std::string tar = root_ + "/out.tar";
    const std::string command =
        GetParam().command + " -f '" + tar + "' -C '" + tree_ + "' . 2>" + root_ + "/errors";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return ReadFile(tar, uint64_t{1} << 30).value_or(Bytes());
  }

  // The file's bytes, put together from the tar.
  static std::string Content(const TarEntry& entry, ByteSpan tar) {
    if (!entry.sparse) return std::string(AsText(tar.subspan(entry.data_offset, entry.data_size)));
    std::string content(entry.size, '\0');
    for (const DataExtent& extent : entry.extents) {
      content.replace(extent.file_offset, extent.size,
                      AsText(tar.subspan(extent.tar_offset, extent.size)));
    }
    return content;
  }

  void CheckAttributes(const TarEntry& entry, const struct stat& expected) const {
    EXPECT_EQ(entry.uid, expected.st_uid);
    EXPECT_EQ(entry.gid, expected.st_gid);
    EXPECT_EQ(entry.mtime.seconds, expected.st_mtim.tv_sec);
    EXPECT_EQ(entry.mtime.nanoseconds, GetParam().nanoseconds ? expected.st_mtim.tv_nsec : 0);
    EXPECT_TRUE(S_ISLNK(expected.st_mode) || entry.permissions == (expected.st_mode & 07777));
    switch (entry.type) {
      case TarEntryType::kRegular:
      case TarEntryType::kHardLink:
        EXPECT_TRUE(S_ISREG(expected.st_mode));
        break;
      case TarEntryType::kDirectory:
        EXPECT_TRUE(S_ISDIR(expected.st_mode));
        break;
      case TarEntryType::kSymlink:
        EXPECT_TRUE(S_ISLNK(expected.st_mode));
        break;
      case TarEntryType::kFifo:
        EXPECT_TRUE(S_ISFIFO(expected.st_mode));
        break;
      default:
        ADD_FAILURE() << "a type that is not in the tree";
    }
  }

  void CheckXattrs(const TarEntry& entry) const {
    for (const auto& [name, value] : entry.xattrs) {
      char expected[256];
      const ssize_t size =
          ::lgetxattr(InTree(entry.path).c_str(), name.c_str(), expected, sizeof expected);
      ASSERT_GE(size, 0) << name;
      EXPECT_EQ(value, std::string(expected, static_cast<size_t>(size))) << name;
    }
  }

  void CheckEntry(const TarEntry& entry, ByteSpan tar) const {
    SCOPED_TRACE(entry.path);
    struct stat expected;
    ASSERT_EQ(::lstat(InTree(entry.path).c_str(), &expected), 0);
    CheckAttributes(entry, expected);
    CheckXattrs(entry);
    if (entry.type == TarEntryType::kRegular) {
      ASSERT_EQ(entry.size, static_cast<uint64_t>(expected.st_size));
      const Result<Bytes> bytes = ReadFile(InTree(entry.path), uint64_t{1} << 30);
      ASSERT_TRUE(bytes.has_value());
      EXPECT_TRUE(Content(entry, tar) == AsText(*bytes));
    } else if (entry.type == TarEntryType::kSymlink) {
      EXPECT_EQ(entry.link_target, stdfs::read_symlink(InTree(entry.path)).string());
    } else if (entry.type == TarEntryType::kHardLink) {
      struct stat target;
      ASSERT_EQ(::lstat(InTree(entry.link_target).c_str(), &target), 0);
      EXPECT_EQ(target.st_ino, expected.st_ino);
    }
  }

  size_t TreeCount() const {
    return 1 + static_cast<size_t>(std::distance(stdfs::recursive_directory_iterator(tree_), {}));
  }

  std::string root_;
  std::string tree_;
  bool has_xattrs_ = false;
  bool has_acl_ = false;
};

TEST_P(RealTar, SaysWhatTheTreeHas) {
  const std::string tool = GetParam().command.substr(0, GetParam().command.find(' '));
  if (std::system(("command -v " + tool + " >/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "needs " << tool;
  }
  MakeTree();
  const Bytes tar = MakeTar();
  const Result<std::vector<TarEntry>> entries = ParseTar(tar);
  ASSERT_TRUE(entries.has_value()) << entries.error().context;
  EXPECT_EQ(entries->size(), TreeCount());
  std::map<std::string, size_t> xattr_counts;
  for (const TarEntry& entry : *entries) {
    CheckEntry(entry, tar);
    if (!entry.xattrs.empty()) xattr_counts[entry.path] = entry.xattrs.size();
    EXPECT_EQ(entry.sparse, GetParam().sparse && entry.path == kSparseName);
  }
  if (GetParam().xattrs) {
    EXPECT_EQ(xattr_counts.count("./dir/block"), has_xattrs_ ? 1U : 0U);
    EXPECT_EQ(xattr_counts.count("./dir/setuid") + xattr_counts.count("./hard") > 0, has_acl_);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tools, RealTar,
    testing::Values(
        RealCase{.name = "GnuTarV7",
                 .command = "tar -c --format=v7",
                 .is_v7 = true,
                 .long_names = false},
        RealCase{.name = "GnuTarUstar", .command = "tar -c --format=ustar", .long_names = false},
        RealCase{.name = "GnuTarGnu", .command = "tar -c --format=gnu"},
        RealCase{.name = "GnuTarGnuIncremental", .command = "tar -c --format=gnu --incremental"},
        RealCase{
            .name = "GnuTarOldGnuSparse", .command = "tar -cS --format=oldgnu", .sparse = true},
        RealCase{.name = "GnuTarGnuSparse", .command = "tar -cS --format=gnu", .sparse = true},
        RealCase{.name = "GnuTarPax",
                 .command = "tar -c --format=pax --xattrs --acls",
                 .nanoseconds = true,
                 .xattrs = true},
        RealCase{.name = "GnuTarPaxSparse00",
                 .command = "tar -cS --format=pax --sparse-version=0.0",
                 .nanoseconds = true,
                 .sparse = true},
        RealCase{.name = "GnuTarPaxSparse01",
                 .command = "tar -cS --format=pax --sparse-version=0.1",
                 .nanoseconds = true,
                 .sparse = true},
        RealCase{.name = "GnuTarPaxSparse10",
                 .command = "tar -cS --format=pax --sparse-version=1.0",
                 .nanoseconds = true,
                 .sparse = true},
        RealCase{.name = "GnuTarPaxGlobalHeader",
                 .command = "tar -c --format=pax --pax-option=comment=x,globexthdr.name=g",
                 .nanoseconds = true},
        RealCase{.name = "BsdTarPax",
                 .command = "bsdtar -c --format=pax",
                 .nanoseconds = true,
                 .xattrs = true,
                 .sparse = true},
        RealCase{.name = "BsdTarGnu", .command = "bsdtar -c --format=gnutar"},
        RealCase{
            .name = "BsdTarUstar", .command = "bsdtar -c --format=ustar", .long_names = false}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// What TarParser makes of whole tars.
#include "index/tar_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <string>

#include "tests/index/tar_parse_helper.h"
#include "tests/index/tar_writer.h"

namespace layerfs {
namespace {

// One line that says everything about an entry.
std::string Describe(const TarEntry& entry) {
  static constexpr std::string_view kTypes = "fhlcbdp";
  std::string text;
  text += kTypes[static_cast<size_t>(entry.type)];
  text += " " + entry.path;
  if (!entry.link_target.empty()) text += " -> " + entry.link_target;
  char mode[16];
  std::snprintf(mode, sizeof mode, " %04o", entry.permissions);
  text += mode;
  text += " " + std::to_string(entry.uid) + ":" + std::to_string(entry.gid);
  text +=
      " t=" + std::to_string(entry.mtime.seconds) + "." + std::to_string(entry.mtime.nanoseconds);
  if (entry.rdev != 0) {
    text += " dev=" + std::to_string(major(entry.rdev)) + "," + std::to_string(minor(entry.rdev));
  }
  text += " size=" + std::to_string(entry.size) + " at=" + std::to_string(entry.header_offset) +
          "," + std::to_string(entry.data_offset) + "+" + std::to_string(entry.data_size);
  if (entry.sparse) text += " sparse";
  for (const DataExtent& extent : entry.extents) {
    text += " [" + std::to_string(extent.file_offset) + "@" + std::to_string(extent.tar_offset) +
            "+" + std::to_string(extent.size) + "]";
  }
  for (const auto& [name, value] : entry.xattrs) {
    text += " " + name + "=";
    for (const char c : value) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "%02x", static_cast<uint8_t>(c));
      text += c >= ' ' && c <= '~' ? std::string(1, c) : "\\x" + std::string(hex);
    }
  }
  return text;
}

std::string DescribeTar(ByteSpan tar, size_t piece = SIZE_MAX) {
  const Result<std::vector<TarEntry>> entries = ParseTar(tar, piece);
  if (!entries.has_value()) {
    return std::string(ErrorCodeName(entries.error().code)) + ": " + entries.error().context;
  }
  std::string text;
  for (const TarEntry& entry : *entries) text += Describe(entry) + "\n";
  return text;
}

struct GoodCase {
  std::string name;
  Bytes tar;
  std::string expected;
};
void PrintTo(const GoodCase& good, std::ostream* out) { *out << CaseName(good.name); }

void Add(std::vector<GoodCase>& cases, std::string name, const TarWriter& tar,
         std::string expected) {
  cases.push_back({std::move(name), tar.Finish(), std::move(expected)});
}

void AddFraming(std::vector<GoodCase>& cases) {
  cases.push_back({"empty-file", {}, ""});
  Add(cases, "no-entries", TarWriter(), "");
  cases.push_back({"no-end-marker", TarWriter().File("a", "x").WithoutEndMarker(),
                   "f a 0644 0:0 t=0.0 size=1 at=0,512+1\n"});
  cases.push_back({"no-padding-behind-the-last-payload",
                   Bytes(TarWriter()
                             .Raw(TarWriter::Header({.path = "a", .content = "xy"}))
                             .Raw("xy")
                             .WithoutEndMarker()),
                   "f a 0644 0:0 t=0.0 size=2 at=0,512+2\n"});
  cases.push_back({"one-zero-block-at-the-end",
                   TarWriter().File("a").Raw(Repeat('\0', 512)).WithoutEndMarker(),
                   "f a 0644 0:0 t=0.0 size=0 at=0,512+0\n"});
  Add(cases, "padding-behind-the-end-marker", TarWriter().File("a").Raw(Repeat('\0', 10240)),
      "f a 0644 0:0 t=0.0 size=0 at=0,512+0\n");
}

void AddTypes(std::vector<GoodCase>& cases) {
  Add(cases, "every-type",
      TarWriter()
          .Directory("d", 01777)
          .File("d/f", "hello", 04755)
          .Symlink("d/l", "../x")
          .HardLink("d/h", "d/f")
          .Device("d/c", '3', 1, 3)
          .Device("d/b", '4', 259, 70000)
          .Fifo("d/p"),
      "d d/ 1777 0:0 t=0.0 size=0 at=0,512+0\n"
      "f d/f 4755 0:0 t=0.0 size=5 at=512,1024+5\n"
      "l d/l -> ../x 0777 0:0 t=0.0 size=0 at=1536,2048+0\n"
      "h d/h -> d/f 0644 0:0 t=0.0 size=0 at=2048,2560+0\n"
      "c d/c 0644 0:0 t=0.0 dev=1,3 size=0 at=2560,3072+0\n"
      "b d/b 0644 0:0 t=0.0 dev=259,70000 size=0 at=3072,3584+0\n"
      "p d/p 0644 0:0 t=0.0 size=0 at=3584,4096+0\n");
}

void AddOldHeaders(std::vector<GoodCase>& cases) {
  const std::string bytes_name = "caf\xe9/\xff\xfe";
  Add(cases, "contiguous-and-nul-types-are-regular",
      TarWriter()
          .Add({.path = "a", .type = '7', .content = "1"})
          .Add({.path = "b", .type = '\0', .content = "2"}),
      "f a 0644 0:0 t=0.0 size=1 at=0,512+1\n"
      "f b 0644 0:0 t=0.0 size=1 at=1024,1536+1\n");
  Add(cases, "nul-type-with-slash-is-directory", TarWriter().Add({.path = "old/", .type = '\0'}),
      "d old/ 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "v7-header-without-magic",
      TarWriter().Raw(Patched({.path = "v7"}, 257, Repeat('\0', 8))),
      "f v7 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "v7-header-has-no-prefix",
      TarWriter().Raw(Patched({.path = "v7"}, 257, Repeat('\0', 8) + Repeat('p', 200))),
      "f v7 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "name-of-exactly-100-bytes", TarWriter().File(Repeat('x', 100)),
      "f " + Repeat('x', 100) + " 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "ustar-prefix", TarWriter().Raw(Patched({.path = "name"}, 345, "some/prefix")),
      "f some/prefix/name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "star-prefix-is-shorter",
      TarWriter().Raw(Patched({.path = "name"}, 345,
                              Repeat('p', 131) + "00000000000 00000000000 " + Repeat('\0', 8) +
                                  std::string("tar\0", 4))),
      "f " + Repeat('p', 131) + "/name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "gnu-atime-is-no-prefix",
      TarWriter().Raw(
          Patched({.path = "name", .dialect = TarDialect::kGnu}, 345, "14000000000 14000000000 ")),
      "f name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "old-go-writer-puts-prefix-into-gnu-header",
      TarWriter().Raw(
          Patched({.path = "name", .dialect = TarDialect::kGnu}, 345, "usr/share/doc/package")),
      "f usr/share/doc/package/name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "names-are-bytes",
      TarWriter()
          .File(bytes_name)
          .Add({.path = "p", .pax = {{"path", bytes_name}, {"hdrcharset", "BINARY"}}}),
      "f " + bytes_name + " 0644 0:0 t=0.0 size=0 at=0,512+0\n" + "f " + bytes_name +
          " 0644 0:0 t=0.0 size=0 at=512,2048+0\n");
}

void AddNumbers(std::vector<GoodCase>& cases) {
  Add(
      cases, "signed-checksum",
      [] {
        std::string block = TarWriter::Header({.path = "\xe9\xe9"});
        char text[16];
        const unsigned sum = std::stoul(block.substr(148, 6), nullptr, 8) - 512;
        std::snprintf(text, sizeof text, "%06o", sum);
        return TarWriter().Raw(block.replace(148, 6, text));
      }(),
      "f \xe9\xe9 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "numbers-with-spaces",
      TarWriter().Raw(Patched({.path = "a"}, 100, "  644 \0   17 \0   25 \0")),
      "f a 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  Add(cases, "blank-numbers-are-zero",
      TarWriter().Raw(Patched({.path = "a"}, 100, Repeat(' ', 24))),
      "f a 0000 0:0 t=0.0 size=0 at=0,512+0\n");
}

void AddGnu(std::vector<GoodCase>& cases) {
  const std::string long_name = Repeat('n', 300);
  const std::string long_target = Repeat('t', 150);
  Add(cases, "gnu-long-names",
      TarWriter().Add({.path = long_name,
                       .type = '2',
                       .link_target = long_target,
                       .dialect = TarDialect::kGnu}),
      "l " + long_name + " -> " + long_target + " 0644 0:0 t=0.0 size=0 at=0,2560+0\n");
  Add(cases, "gnu-base-256-numbers",
      TarWriter().Add({.path = "a",
                       .uid = 4294967294,
                       .gid = 5000000,
                       .mtime = -5,
                       .dialect = TarDialect::kGnu}),
      "f a 0644 4294967294:5000000 t=-5.0 size=0 at=0,512+0\n");
  Add(cases, "gnu-incremental-directory-with-its-list",
      TarWriter().Add({.path = "d/", .type = 'D', .content = "Yname\0"}).File("d/name"),
      "d d/ 0644 0:0 t=0.0 size=0 at=0,512+5\n"
      "f d/name 0644 0:0 t=0.0 size=0 at=1024,1536+0\n");
}

void AddPax(std::vector<GoodCase>& cases) {
  const std::string long_name = Repeat('n', 300);
  const std::string long_target = Repeat('t', 150);
  Add(cases, "pax-long-names-ids-and-time",
      TarWriter().Add({.path = long_name,
                       .type = '1',
                       .link_target = long_target,
                       .uid = 4294967294,
                       .gid = 3000000,
                       .mtime = -2,
                       .mtime_nanoseconds = 250000000}),
      "h " + long_name + " -> " + long_target +
          " 0644 4294967294:3000000 t=-2.250000000 size=0 at=0,2048+0\n");
  Add(cases, "pax-replaces-header-fields-that-are-broken",
      TarWriter()
          .Pax({{"uid", "7"}, {"gid", "8"}, {"mtime", "9.5"}, {"size", "3"}})
          .Raw(Patched({.path = "f"}, 108, "?????????????????????????????????????"))
          .Payload("abc"),
      "f f 0644 7:8 t=9.500000000 size=3 at=0,1536+3\n");
  Add(
      cases, "pax-size-beyond-octal",
      [] {
        TarWriter writer;
        writer.Pax({{"size", "1234"}}).Raw(TarWriter::Header({.path = "f"}));
        return writer.Payload(Repeat('z', 1234)).File("next");
      }(),
      "f f 0644 0:0 t=0.0 size=1234 at=0,1536+1234\n"
      "f next 0644 0:0 t=0.0 size=0 at=3072,3584+0\n");
  Add(cases, "pax-empty-value-gives-the-header-back",
      TarWriter().Add({.path = "f", .pax = {{"path", "other"}, {"path", ""}, {"mtime", ""}}}),
      "f f 0644 0:0 t=0.0 size=0 at=0,1536+0\n");
  Add(cases, "pax-last-record-wins",
      TarWriter().Add({.path = "f", .pax = {{"path", "one"}, {"path", "two"}}}),
      "f two 0644 0:0 t=0.0 size=0 at=0,1536+0\n");
  Add(cases, "pax-global-header-is-passed-over",
      TarWriter()
          .Pax({{"path", "all"}, {"comment", "0123"}, {"uid", "5"}}, 'g')
          .File("a")
          .Pax({{"path", "b"}})
          .Pax({{"mtime", "1"}}, 'g')
          .Raw(TarWriter::Header({.path = "replaced"})),
      "f a 0644 0:0 t=0.0 size=0 at=1024,1536+0\n"
      "f b 0644 0:0 t=0.0 size=0 at=1536,4096+0\n");
  Add(cases, "pax-unknown-keys-are-passed-over",
      WithPax({{"MSWINDOWS.rawsd", "AQAA"}, {"LIBARCHIVE.creationtime", "1.5"}, {"é", "\n\n"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3\n");
  Add(cases, "pax-does-not-outlive-its-entry",
      TarWriter().Add({.path = "a", .uid = 9000000, .xattrs = {{"user.a", "1"}}}).File("b"),
      "f a 0644 9000000:0 t=0.0 size=0 at=0,1536+0 user.a=1\n"
      "f b 0644 0:0 t=0.0 size=0 at=1536,2048+0\n");
  Add(cases, "sun-extension-header",
      TarWriter().Pax({{"path", "sun"}}, 'X').Raw(TarWriter::Header({.path = "f"})),
      "f sun 0644 0:0 t=0.0 size=0 at=0,1536+0\n");
}

void AddHeaderOnly(std::vector<GoodCase>& cases) {
  Add(cases, "header-only-types-have-no-payload-whatever-their-size-says",
      TarWriter()
          .Add({.path = "d", .type = '5', .claimed_size = 4096})
          .Add({.path = "h", .type = '1', .link_target = "f", .claimed_size = 5})
          .Add({.path = "l", .type = '2', .link_target = "f", .claimed_size = 1})
          .File("f"),
      "d d 0644 0:0 t=0.0 size=0 at=0,512+0\n"
      "h h -> f 0644 0:0 t=0.0 size=0 at=512,1024+0\n"
      "l l -> f 0644 0:0 t=0.0 size=0 at=1024,1536+0\n"
      "f f 0644 0:0 t=0.0 size=0 at=1536,2048+0\n");
}

void AddXattrs(std::vector<GoodCase>& cases) {
  Add(cases, "xattr-values-are-bytes-and-may-be-empty",
      TarWriter().Add({.path = "f",
                       .xattrs = {{"user.z", std::string("a\0=\n", 4)},
                                  {"security.capability", "\x01"},
                                  {"user.empty", ""}}}),
      "f f 0644 0:0 t=0.0 size=0 at=0,1536+0 security.capability=\\x01 user.empty= "
      "user.z=a\\x00=\\x0a\n");
  Add(cases, "xattr-names-that-linux-does-not-have-are-dropped",
      WithPax({{"SCHILY.xattr.com.apple.quarantine", "q"}, {"SCHILY.xattr.user.", "q"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3\n");
  Add(cases, "xattr-of-libarchive",
      WithPax({{"LIBARCHIVE.xattr.user.a%3Db%25", "AAEC/w"}, {"LIBARCHIVE.xattr.user.c", "eA=="}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3 user.a=b%=\\x00\\x01\\x02\\xff user.c=x\n");
  Add(cases, "xattr-in-both-forms-is-taken-plain",
      WithPax({{"SCHILY.xattr.user.a", "plain"}, {"LIBARCHIVE.xattr.user.a", "eA"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3 user.a=plain\n");
  Add(cases, "selinux-label", WithPax({{"RHT.security.selinux", "system_u:object_r:bin_t:s0"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3 "
      "security.selinux=system_u:object_r:bin_t:s0\\x00\n");
  Add(cases, "acl-in-words",
      WithPax(
          {{"SCHILY.acl.access", "user::rw-,user:lisa:r--:502,group::r--,mask::r--,other::---"}}),
      "f f 0640 0:0 t=0.0 size=3 at=0,1536+3 system.posix_acl_access="
      "\\x02\\x00\\x00\\x00"
      "\\x01\\x00\\x06\\x00\\xff\\xff\\xff\\xff"
      "\\x02\\x00\\x04\\x00\\xf6\\x01\\x00\\x00"
      "\\x04\\x00\\x04\\x00\\xff\\xff\\xff\\xff"
      "\\x10\\x00\\x04\\x00\\xff\\xff\\xff\\xff"
      " \\x00\\x00\\x00\\xff\\xff\\xff\\xff\n");
}

void AddSparse(std::vector<GoodCase>& cases) {
  Add(cases, "sparse-pax-1.0",
      TarWriter()
          .SparsePax10("s", 100000, {{4096, Repeat('a', 512)}, {99990, "bbb"}, {100000, ""}})
          .File("next"),
      "f s 0644 0:0 t=0.0 size=100000 at=0,2048+515 sparse [4096@2048+512] [99990@2560+3]\n"
      "f next 0644 0:0 t=0.0 size=0 at=3072,3584+0\n");
  Add(cases, "sparse-pax-1.0-all-hole", TarWriter().SparsePax10("s", 1ULL << 40, {}),
      "f s 0644 0:0 t=0.0 size=1099511627776 at=0,2048+0 sparse\n");
  Add(cases, "sparse-pax-0.1",
      WithPax({{"GNU.sparse.major", "0"},
               {"GNU.sparse.minor", "1"},
               {"GNU.sparse.name", "real"},
               {"GNU.sparse.size", "50"},
               {"GNU.sparse.numblocks", "2"},
               {"GNU.sparse.map", "10,1,20,2"}}),
      "f real 0644 0:0 t=0.0 size=50 at=0,1536+3 sparse [10@1536+1] [20@1537+2]\n");
  Add(cases, "sparse-pax-0.0",
      WithPax({{"GNU.sparse.size", "50"},
               {"GNU.sparse.numblocks", "2"},
               {"GNU.sparse.offset", "10"},
               {"GNU.sparse.numbytes", "1"},
               {"GNU.sparse.offset", "20"},
               {"GNU.sparse.numbytes", "2"}}),
      "f f 0644 0:0 t=0.0 size=50 at=0,1536+3 sparse [10@1536+1] [20@1537+2]\n");
  Add(cases, "sparse-old-gnu",
      TarWriter().SparseOldGnu("s", 1000, {{0, "a"}, {100, "bb"}, {1000, ""}}).File("next"),
      "f s 0644 0:0 t=0.0 size=1000 at=0,512+3 sparse [0@512+1] [100@513+2]\n"
      "f next 0644 0:0 t=0.0 size=0 at=1024,1536+0\n");
  {
    TarSparseMap map;
    std::string extents;
    for (uint64_t i = 0; i < 30; ++i) {  // 4 in the header, 21 in one extension block, 5 in another
      map.emplace_back(i * 10, "x");
      extents += " [" + std::to_string(i * 10) + "@" + std::to_string(1536 + i) + "+1]";
    }
    Add(cases, "sparse-old-gnu-with-extension-blocks", TarWriter().SparseOldGnu("s", 1000, map),
        "f s 0644 0:0 t=0.0 size=1000 at=0,1536+30 sparse" + extents + "\n");
  }
}

std::vector<GoodCase> GoodCases() {
  std::vector<GoodCase> cases;
  AddFraming(cases);
  AddTypes(cases);
  AddOldHeaders(cases);
  AddNumbers(cases);
  AddGnu(cases);
  AddPax(cases);
  AddHeaderOnly(cases);
  AddXattrs(cases);
  AddSparse(cases);
  return cases;
}

class GoodTar : public testing::TestWithParam<GoodCase> {};

TEST_P(GoodTar, GivesItsEntries) { EXPECT_EQ(DescribeTar(GetParam().tar), GetParam().expected); }

TEST_P(GoodTar, GivesTheSameInPiecesOfAnySize) {
  for (const size_t piece : {1, 2, 3, 7, 511, 513}) {
    EXPECT_EQ(DescribeTar(GetParam().tar, piece), GetParam().expected) << piece;
  }
}

INSTANTIATE_TEST_SUITE_P(Tars, GoodTar, testing::ValuesIn(GoodCases()),
                         [](const auto& info) { return CaseName(info.param.name); });

TEST(TarParser, ErrorOfTheCallbackEndsTheParsingUnchanged) {
  int calls = 0;
  TarParser parser([&](TarEntry&&) -> Status {
    ++calls;
    return Fail(ErrorCode::kCancelled, "enough");
  });
  const Bytes tar = TarWriter().File("a").File("b").Finish();
  for (int i = 0; i < 2; ++i) {
    const Status status = parser.Feed(tar);
    ASSERT_FALSE(status.has_value());
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
    EXPECT_EQ(status.error().context, "enough");
  }
  EXPECT_FALSE(parser.Finish().has_value());
  EXPECT_EQ(calls, 1);
}

TEST(TarParser, CallsBackBeforeThePayloadArrives) {
  std::vector<std::string> paths;
  TarParser parser([&](TarEntry&& entry) {
    paths.push_back(entry.path);
    return Status();
  });
  const Bytes tar = TarWriter().File("a", "payload").Finish();
  ASSERT_TRUE(parser.Feed(ByteSpan(tar).first(511)).has_value());
  EXPECT_TRUE(paths.empty());
  ASSERT_TRUE(parser.Feed(ByteSpan(tar).subspan(511, 1)).has_value());
  EXPECT_EQ(paths, std::vector<std::string>{"a"});
  EXPECT_EQ(parser.offset(), 512U);
}

}  // namespace
}  // namespace layerfs

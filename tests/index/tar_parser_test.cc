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

using testing::HasSubstr;

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

std::string Repeat(char c, size_t count) { return std::string(count, c); }

// A header whose bytes at `offset` are replaced before it is summed.
std::string Patched(const TarItem& item, size_t offset, std::string_view bytes) {
  std::string block = TarWriter::Header(item);
  block.replace(offset, bytes.size(), bytes);
  return TarWriter::Summed(std::move(block));
}

TarWriter WithPax(const TarPairs& records) {
  TarWriter writer;
  writer.Add({.path = "f", .content = "abc", .pax = records});
  return writer;
}

// A test's name from a case's: letters and digits only.
std::string CaseName(const std::string& name) {
  std::string safe = name;
  for (char& c : safe) c = std::isalnum(static_cast<uint8_t>(c)) != 0 ? c : '_';
  return safe;
}

struct GoodCase {
  std::string name;
  Bytes tar;
  std::string expected;
};
void PrintTo(const GoodCase& good, std::ostream* out) { *out << CaseName(good.name); }

std::vector<GoodCase> GoodCases() {
  const std::string long_name = Repeat('n', 300);
  const std::string long_target = Repeat('t', 150);
  const std::string bytes_name = "caf\xe9/\xff\xfe";
  std::vector<GoodCase> cases;
  const auto add = [&](std::string name, const TarWriter& tar, std::string expected) {
    cases.push_back({std::move(name), tar.Finish(), std::move(expected)});
  };

  cases.push_back({"empty-file", {}, ""});
  add("no-entries", TarWriter(), "");
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
  add("padding-behind-the-end-marker", TarWriter().File("a").Raw(Repeat('\0', 10240)),
      "f a 0644 0:0 t=0.0 size=0 at=0,512+0\n");

  add("every-type",
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

  add("contiguous-and-nul-types-are-regular",
      TarWriter()
          .Add({.path = "a", .type = '7', .content = "1"})
          .Add({.path = "b", .type = '\0', .content = "2"}),
      "f a 0644 0:0 t=0.0 size=1 at=0,512+1\n"
      "f b 0644 0:0 t=0.0 size=1 at=1024,1536+1\n");
  add("nul-type-with-slash-is-directory", TarWriter().Add({.path = "old/", .type = '\0'}),
      "d old/ 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("v7-header-without-magic", TarWriter().Raw(Patched({.path = "v7"}, 257, Repeat('\0', 8))),
      "f v7 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("v7-header-has-no-prefix",
      TarWriter().Raw(Patched({.path = "v7"}, 257, Repeat('\0', 8) + Repeat('p', 200))),
      "f v7 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("name-of-exactly-100-bytes", TarWriter().File(Repeat('x', 100)),
      "f " + Repeat('x', 100) + " 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("ustar-prefix", TarWriter().Raw(Patched({.path = "name"}, 345, "some/prefix")),
      "f some/prefix/name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("star-prefix-is-shorter",
      TarWriter().Raw(Patched({.path = "name"}, 345,
                              Repeat('p', 131) + "00000000000 00000000000 " + Repeat('\0', 8) +
                                  std::string("tar\0", 4))),
      "f " + Repeat('p', 131) + "/name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("gnu-atime-is-no-prefix",
      TarWriter().Raw(
          Patched({.path = "name", .dialect = TarDialect::kGnu}, 345, "14000000000 14000000000 ")),
      "f name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("old-go-writer-puts-prefix-into-gnu-header",
      TarWriter().Raw(
          Patched({.path = "name", .dialect = TarDialect::kGnu}, 345, "usr/share/doc/package")),
      "f usr/share/doc/package/name 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("names-are-bytes",
      TarWriter()
          .File(bytes_name)
          .Add({.path = "p", .pax = {{"path", bytes_name}, {"hdrcharset", "BINARY"}}}),
      "f " + bytes_name + " 0644 0:0 t=0.0 size=0 at=0,512+0\n" + "f " + bytes_name +
          " 0644 0:0 t=0.0 size=0 at=512,2048+0\n");

  add(
      "signed-checksum",
      [] {
        std::string block = TarWriter::Header({.path = "\xe9\xe9"});
        char text[16];
        const unsigned sum = std::stoul(block.substr(148, 6), nullptr, 8) - 512;
        std::snprintf(text, sizeof text, "%06o", sum);
        return TarWriter().Raw(block.replace(148, 6, text));
      }(),
      "f \xe9\xe9 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("numbers-with-spaces",
      TarWriter().Raw(Patched({.path = "a"}, 100, "  644 \0   17 \0   25 \0")),
      "f a 0644 0:0 t=0.0 size=0 at=0,512+0\n");
  add("blank-numbers-are-zero", TarWriter().Raw(Patched({.path = "a"}, 100, Repeat(' ', 24))),
      "f a 0000 0:0 t=0.0 size=0 at=0,512+0\n");

  add("gnu-long-names",
      TarWriter().Add({.path = long_name,
                       .type = '2',
                       .link_target = long_target,
                       .dialect = TarDialect::kGnu}),
      "l " + long_name + " -> " + long_target + " 0644 0:0 t=0.0 size=0 at=0,2560+0\n");
  add("gnu-base-256-numbers",
      TarWriter().Add({.path = "a",
                       .uid = 4294967294,
                       .gid = 5000000,
                       .mtime = -5,
                       .dialect = TarDialect::kGnu}),
      "f a 0644 4294967294:5000000 t=-5.0 size=0 at=0,512+0\n");
  add("gnu-incremental-directory-with-its-list",
      TarWriter().Add({.path = "d/", .type = 'D', .content = "Yname\0"}).File("d/name"),
      "d d/ 0644 0:0 t=0.0 size=0 at=0,512+5\n"
      "f d/name 0644 0:0 t=0.0 size=0 at=1024,1536+0\n");

  add("pax-long-names-ids-and-time",
      TarWriter().Add({.path = long_name,
                       .type = '1',
                       .link_target = long_target,
                       .uid = 4294967294,
                       .gid = 3000000,
                       .mtime = -2,
                       .mtime_nanoseconds = 250000000}),
      "h " + long_name + " -> " + long_target +
          " 0644 4294967294:3000000 t=-2.250000000 size=0 at=0,2048+0\n");
  add("pax-replaces-header-fields-that-are-broken",
      TarWriter()
          .Pax({{"uid", "7"}, {"gid", "8"}, {"mtime", "9.5"}, {"size", "3"}})
          .Raw(Patched({.path = "f"}, 108, "?????????????????????????????????????"))
          .Payload("abc"),
      "f f 0644 7:8 t=9.500000000 size=3 at=0,1536+3\n");
  add(
      "pax-size-beyond-octal",
      [] {
        TarWriter writer;
        writer.Pax({{"size", "1234"}}).Raw(TarWriter::Header({.path = "f"}));
        return writer.Payload(Repeat('z', 1234)).File("next");
      }(),
      "f f 0644 0:0 t=0.0 size=1234 at=0,1536+1234\n"
      "f next 0644 0:0 t=0.0 size=0 at=3072,3584+0\n");
  add("pax-empty-value-gives-the-header-back",
      TarWriter().Add({.path = "f", .pax = {{"path", "other"}, {"path", ""}, {"mtime", ""}}}),
      "f f 0644 0:0 t=0.0 size=0 at=0,1536+0\n");
  add("pax-last-record-wins",
      TarWriter().Add({.path = "f", .pax = {{"path", "one"}, {"path", "two"}}}),
      "f two 0644 0:0 t=0.0 size=0 at=0,1536+0\n");
  add("pax-global-header-is-passed-over",
      TarWriter()
          .Pax({{"path", "all"}, {"comment", "0123"}, {"uid", "5"}}, 'g')
          .File("a")
          .Pax({{"path", "b"}})
          .Pax({{"mtime", "1"}}, 'g')
          .Raw(TarWriter::Header({.path = "replaced"})),
      "f a 0644 0:0 t=0.0 size=0 at=1024,1536+0\n"
      "f b 0644 0:0 t=0.0 size=0 at=1536,4096+0\n");
  add("pax-unknown-keys-are-passed-over",
      WithPax({{"MSWINDOWS.rawsd", "AQAA"}, {"LIBARCHIVE.creationtime", "1.5"}, {"é", "\n\n"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3\n");
  add("pax-does-not-outlive-its-entry",
      TarWriter().Add({.path = "a", .uid = 9000000, .xattrs = {{"user.a", "1"}}}).File("b"),
      "f a 0644 9000000:0 t=0.0 size=0 at=0,1536+0 user.a=1\n"
      "f b 0644 0:0 t=0.0 size=0 at=1536,2048+0\n");
  add("sun-extension-header",
      TarWriter().Pax({{"path", "sun"}}, 'X').Raw(TarWriter::Header({.path = "f"})),
      "f sun 0644 0:0 t=0.0 size=0 at=0,1536+0\n");

  add("header-only-types-have-no-payload-whatever-their-size-says",
      TarWriter()
          .Add({.path = "d", .type = '5', .claimed_size = 4096})
          .Add({.path = "h", .type = '1', .link_target = "f", .claimed_size = 5})
          .Add({.path = "l", .type = '2', .link_target = "f", .claimed_size = 1})
          .File("f"),
      "d d 0644 0:0 t=0.0 size=0 at=0,512+0\n"
      "h h -> f 0644 0:0 t=0.0 size=0 at=512,1024+0\n"
      "l l -> f 0644 0:0 t=0.0 size=0 at=1024,1536+0\n"
      "f f 0644 0:0 t=0.0 size=0 at=1536,2048+0\n");

  add("xattr-values-are-bytes-and-may-be-empty",
      TarWriter().Add({.path = "f",
                       .xattrs = {{"user.z", std::string("a\0=\n", 4)},
                                  {"security.capability", "\x01"},
                                  {"user.empty", ""}}}),
      "f f 0644 0:0 t=0.0 size=0 at=0,1536+0 security.capability=\\x01 user.empty= "
      "user.z=a\\x00=\\x0a\n");
  add("xattr-names-that-linux-does-not-have-are-dropped",
      WithPax({{"SCHILY.xattr.com.apple.quarantine", "q"}, {"SCHILY.xattr.user.", "q"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3\n");
  add("xattr-of-libarchive",
      WithPax({{"LIBARCHIVE.xattr.user.a%3Db%25", "AAEC/w"}, {"LIBARCHIVE.xattr.user.c", "eA=="}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3 user.a=b%=\\x00\\x01\\x02\\xff user.c=x\n");
  add("xattr-in-both-forms-is-taken-plain",
      WithPax({{"SCHILY.xattr.user.a", "plain"}, {"LIBARCHIVE.xattr.user.a", "eA"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3 user.a=plain\n");
  add("selinux-label", WithPax({{"RHT.security.selinux", "system_u:object_r:bin_t:s0"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3 "
      "security.selinux=system_u:object_r:bin_t:s0\\x00\n");
  add("acl-in-words",
      WithPax(
          {{"SCHILY.acl.access", "user::rw-,user:lisa:r--:502,group::r--,mask::r--,other::---"}}),
      "f f 0644 0:0 t=0.0 size=3 at=0,1536+3 system.posix_acl_access="
      "\\x02\\x00\\x00\\x00"
      "\\x01\\x00\\x06\\x00\\xff\\xff\\xff\\xff"
      "\\x02\\x00\\x04\\x00\\xf6\\x01\\x00\\x00"
      "\\x04\\x00\\x04\\x00\\xff\\xff\\xff\\xff"
      "\\x10\\x00\\x04\\x00\\xff\\xff\\xff\\xff"
      " \\x00\\x00\\x00\\xff\\xff\\xff\\xff\n");

  add("sparse-pax-1.0",
      TarWriter()
          .SparsePax10("s", 100000, {{4096, Repeat('a', 512)}, {99990, "bbb"}, {100000, ""}})
          .File("next"),
      "f s 0644 0:0 t=0.0 size=100000 at=0,2048+515 sparse [4096@2048+512] [99990@2560+3]\n"
      "f next 0644 0:0 t=0.0 size=0 at=3072,3584+0\n");
  add("sparse-pax-1.0-all-hole", TarWriter().SparsePax10("s", 1ULL << 40, {}),
      "f s 0644 0:0 t=0.0 size=1099511627776 at=0,2048+0 sparse\n");
  add("sparse-pax-0.1",
      WithPax({{"GNU.sparse.major", "0"},
               {"GNU.sparse.minor", "1"},
               {"GNU.sparse.name", "real"},
               {"GNU.sparse.size", "50"},
               {"GNU.sparse.numblocks", "2"},
               {"GNU.sparse.map", "10,1,20,2"}}),
      "f real 0644 0:0 t=0.0 size=50 at=0,1536+3 sparse [10@1536+1] [20@1537+2]\n");
  add("sparse-pax-0.0",
      WithPax({{"GNU.sparse.size", "50"},
               {"GNU.sparse.numblocks", "2"},
               {"GNU.sparse.offset", "10"},
               {"GNU.sparse.numbytes", "1"},
               {"GNU.sparse.offset", "20"},
               {"GNU.sparse.numbytes", "2"}}),
      "f f 0644 0:0 t=0.0 size=50 at=0,1536+3 sparse [10@1536+1] [20@1537+2]\n");
  add("sparse-old-gnu",
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
    add("sparse-old-gnu-with-extension-blocks", TarWriter().SparseOldGnu("s", 1000, map),
        "f s 0644 0:0 t=0.0 size=1000 at=0,1536+30 sparse" + extents + "\n");
  }
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

struct BadCase {
  std::string name;
  Bytes tar;
  ErrorCode code;
  std::string message;  // a part of it
};
void PrintTo(const BadCase& bad, std::ostream* out) { *out << CaseName(bad.name); }

std::vector<BadCase> BadCases() {
  std::vector<BadCase> cases;
  const auto add = [&](std::string name, const TarWriter& tar, std::string message,
                       ErrorCode code = ErrorCode::kCorrupt) {
    cases.push_back({std::move(name), tar.WithoutEndMarker(), code, std::move(message)});
  };
  const auto header = [](const TarItem& item) { return TarWriter::Header(item); };

  add("should-fail-wrong-checksum",
      TarWriter().File("a").Raw(header({.path = "b"}).replace(0, 1, "c")),
      "tar offset 512: header checksum is wrong");
  add("should-fail-not-a-tar", TarWriter().Raw(Repeat('x', 512)),
      "tar offset 0: header checksum is wrong");
  add("should-fail-unknown-type", TarWriter().File("a").Add({.path = "q", .type = 'Q'}),
      "tar offset 512: entries of type 'Q'", ErrorCode::kUnsupported);
  add("should-fail-multi-volume", TarWriter().Add({.path = "m", .type = 'M'}), "type 'M'",
      ErrorCode::kUnsupported);
  add("should-fail-volume-label", TarWriter().Add({.path = "v", .type = 'V'}), "type 'V'",
      ErrorCode::kUnsupported);
  add("should-fail-type-that-does-not-print", TarWriter().Add({.path = "v", .type = '\x01'}),
      "type 1", ErrorCode::kUnsupported);
  add("should-fail-star-sparse", TarWriter().Add({.path = "s", .type = 'S'}), "star",
      ErrorCode::kUnsupported);

  add("should-fail-cut-in-header", TarWriter().File("a").Raw(Repeat('b', 100)),
      "tar offset 612: the tar ends in the middle of a header");
  add("should-fail-cut-in-payload",
      TarWriter().Raw(header({.path = "a", .content = "12345"})).Raw("1234"),
      "tar offset 516: the tar ends in the middle of a payload");
  add("should-fail-cut-in-extension",
      TarWriter().Raw(header({.path = "x", .type = 'x', .content = "12345"})).Raw("1"),
      "tar offset 513: the tar ends in the middle of an extension header");
  add("should-fail-cut-behind-extension", TarWriter().Pax({{"path", "a"}}),
      "tar offset 1024: the tar ends in extension headers without an entry");
  add("should-fail-extension-before-end-marker",
      TarWriter().Pax({{"path", "a"}}).Raw(Repeat('\0', 1024)),
      "tar offset 1024: extension headers without an entry");
  add("should-fail-entry-behind-zero-block", TarWriter().File("a").Raw(Repeat('\0', 512)).File("b"),
      "tar offset 1024: an entry behind a zero block");
  add("should-fail-data-behind-end-marker", TarWriter().Raw(Repeat('\0', 1024)).File("b"),
      "tar offset 1024: more than zeros");
  add("should-fail-long-padding", TarWriter().Raw(Repeat('\0', 1024 + (1 << 20) + 1)),
      "behind the end-of-archive marker", ErrorCode::kTooLarge);

  add("should-fail-size-not-octal", TarWriter().Raw(Patched({.path = "a"}, 124, "00000000009")),
      "tar offset 0: size");
  add("should-fail-size-negative", TarWriter().Raw(Patched({.path = "a"}, 124, Repeat('\xff', 12))),
      "size");
  add("should-fail-size-beyond-64-bits",
      TarWriter().Raw(
          Patched({.path = "a"}, 124, std::string("\x80\0\0\x01", 4) + Repeat('\0', 8))),
      "size");
  add("should-fail-size-to-the-largest-offset",
      TarWriter().Raw(
          Patched({.path = "a"}, 124, std::string("\x80\0\0\0\x7f", 5) + Repeat('\xff', 7))),
      "the entry's end is beyond the largest offset");
  add("should-fail-uid-minus-one",
      TarWriter().Raw(Patched({.path = "a"}, 108, std::string("\x80\0\0\0\xff\xff\xff\xff", 8))),
      "uid");
  add("should-fail-gid-negative", TarWriter().Raw(Patched({.path = "a"}, 116, Repeat('\xff', 8))),
      "gid");
  add("should-fail-mode-not-octal", TarWriter().Raw(Patched({.path = "a"}, 100, "rwxr-x")), "mode");
  add("should-fail-mtime-beyond-64-bits",
      TarWriter().Raw(Patched({.path = "a"}, 136, "\x81" + Repeat('\0', 11))), "mtime");
  add("should-fail-device-number", TarWriter().Device("d", '3', 4096, 0), "device major");
  add("should-fail-link-without-target", TarWriter().Symlink("l", ""), "a link without a target");

  add("should-fail-pax-nul-in-path", WithPax({{"path", std::string("a\0b", 3)}}),
      "tar offset 0: PAX record path: holds a NUL");
  add("should-fail-pax-nul-in-linkpath", WithPax({{"linkpath", std::string("\0", 1)}}), "linkpath");
  add("should-fail-pax-nul-in-sparse-name", WithPax({{"GNU.sparse.name", std::string("a\0", 2)}}),
      "GNU.sparse.name");
  add("should-fail-pax-nul-in-key", WithPax({{std::string("a\0", 2), "v"}}), "malformed key");
  add("should-fail-pax-size-overflow", WithPax({{"size", "9223372036854775808"}}), "size");
  add("should-fail-pax-size-beyond-64-bits", WithPax({{"size", "18446744073709551616"}}), "size");
  add("should-fail-pax-size-negative", WithPax({{"size", "-1"}}), "size");
  add("should-fail-pax-size-with-sign", WithPax({{"size", "+1"}}), "size");
  add("should-fail-pax-uid-minus-one", WithPax({{"uid", "4294967295"}}), "uid");
  add("should-fail-pax-gid-words", WithPax({{"gid", "wheel"}}), "gid");
  add("should-fail-pax-mtime-words", WithPax({{"mtime", "noon"}}), "mtime");
  add("should-fail-pax-mtime-overflow", WithPax({{"mtime", "9223372036854775808"}}), "mtime");
  for (const std::string payload :
       {"path=a\n", "9 path=a", "99 path=a\n", "0 path=a\n", "2 \n", "10path=ab\n", "10 path=ab ",
        "7 path\n", "5 =a\n", "x", "99999999999999999999 a=b\n", "-5 a=b\n", " 6 a=b\n"}) {
    add("should-fail-pax-record " + payload,
        TarWriter()
            .Raw(header({.path = "x", .type = 'x', .content = payload}))
            .Payload(payload)
            .File("f"),
        "PAX record: malformed");
  }
  add("should-fail-global-header-malformed",
      TarWriter().Raw(header({.path = "g", .type = 'g', .content = "junk"})).Payload("junk"),
      "PAX record: malformed");
  add("should-fail-libarchive-name-escape", WithPax({{"LIBARCHIVE.xattr.user.%4", "eA"}}),
      "malformed");
  add("should-fail-libarchive-value", WithPax({{"LIBARCHIVE.xattr.user.a", "e!"}}), "malformed");
  add("should-fail-xattr-value-beyond-linux",
      WithPax({{"SCHILY.xattr.user.a", Repeat('v', 65537)}}), "user.a", ErrorCode::kTooLarge);
  add("should-fail-extension-too-large",
      TarWriter().Raw(header({.path = "x", .type = 'x', .claimed_size = (1 << 20) + 1})),
      "extension headers of more than", ErrorCode::kTooLarge);
  add("should-fail-extensions-too-large-together",
      TarWriter()
          .GnuLong('L', Repeat('n', 600000))
          .Raw(header({.path = "x", .type = 'K', .claimed_size = 600000})),
      "extension headers of more than", ErrorCode::kTooLarge);
  add("should-fail-extension-size-overflow",
      TarWriter().Raw(Patched({.path = "x", .type = 'x'}, 124,
                              std::string("\x80\0\0\0\x7f", 5) + Repeat('\xff', 7))),
      "extension headers of more than", ErrorCode::kTooLarge);
  add("should-fail-path-too-long", TarWriter().GnuLong('L', Repeat('n', 65537)).File("f"),
      "a path of more than", ErrorCode::kTooLarge);

  const auto sparse = [](TarPairs more) {
    more.emplace_back("GNU.sparse.size", "50");
    return WithPax(more);
  };
  add("should-fail-sparse-unknown-version",
      WithPax({{"GNU.sparse.major", "2"}, {"GNU.sparse.minor", "0"}}), "GNU sparse format 2.0",
      ErrorCode::kUnsupported);
  add("should-fail-sparse-map-without-size", WithPax({{"GNU.sparse.map", "0,3"}}), "size");
  add("should-fail-sparse-map-odd", sparse({{"GNU.sparse.map", "0,3,5"}}), "malformed");
  add("should-fail-sparse-map-words", sparse({{"GNU.sparse.map", "a,b"}}), "malformed");
  add("should-fail-sparse-map-empty-number", sparse({{"GNU.sparse.map", "0,,3"}}), "malformed");
  add("should-fail-sparse-out-of-order", sparse({{"GNU.sparse.map", "20,1,10,2"}}), "out of order");
  add("should-fail-sparse-overlap", sparse({{"GNU.sparse.map", "10,2,11,1"}}), "out of order");
  add("should-fail-sparse-beyond-end", sparse({{"GNU.sparse.map", "48,3"}}),
      "behind the file's end");
  add("should-fail-sparse-run-overflow", sparse({{"GNU.sparse.map", "1,18446744073709551615"}}),
      "behind the file's end");
  add("should-fail-sparse-longer-than-payload", sparse({{"GNU.sparse.map", "0,4"}}),
      "longer than the payload");
  add("should-fail-sparse-shorter-than-payload", sparse({{"GNU.sparse.map", "0,2"}}),
      "shorter than the payload");
  add("should-fail-sparse-wrong-run-count",
      sparse({{"GNU.sparse.numblocks", "2"}, {"GNU.sparse.map", "0,3"}}), "as many runs");
  add("should-fail-sparse-offset-twice",
      sparse({{"GNU.sparse.offset", "1"}, {"GNU.sparse.offset", "1"}}), "malformed");
  add("should-fail-sparse-offset-alone", sparse({{"GNU.sparse.offset", "1"}}), "missing");
  add("should-fail-sparse-numbytes-alone", sparse({{"GNU.sparse.numbytes", "1"}}), "malformed");
  const auto pax_1 = [](const std::string& content) {
    return TarWriter().Add({.path = "f",
                            .content = content,
                            .pax = {{"GNU.sparse.major", "1"},
                                    {"GNU.sparse.minor", "0"},
                                    {"GNU.sparse.realsize", "100"}}});
  };
  add("should-fail-sparse-1.0-without-map", pax_1(""), "the middle of a sparse map");
  add("should-fail-sparse-1.0-without-map-then-entry", pax_1("").File("next"),
      "longer than the payload");
  add("should-fail-sparse-1.0-map-of-words", pax_1("two\n" + Repeat('\0', 508)), "not a number");
  add("should-fail-sparse-1.0-empty-line", pax_1("\n" + Repeat('\0', 511)), "an empty line");
  add("should-fail-sparse-1.0-map-too-large", pax_1("1000001\n" + Repeat('\0', 504)), "more than",
      ErrorCode::kTooLarge);
  add("should-fail-sparse-1.0-number-too-long", pax_1(Repeat('1', 512)), "not a number");
  add("should-fail-sparse-1.0-map-cut", pax_1("9\n" + Repeat('1', 400)), "longer than the payload");
  add("should-fail-old-sparse-not-octal",
      TarWriter().Raw(Patched({.path = "s", .type = 'S', .dialect = TarDialect::kGnu}, 386, "zzz")),
      "sparse map: not a number");
  add("should-fail-old-sparse-cut",
      TarWriter().Raw(Patched({.path = "s", .type = 'S', .dialect = TarDialect::kGnu}, 482, "\1")),
      "the middle of a sparse map");
  return cases;
}

class BadTar : public testing::TestWithParam<BadCase> {};

TEST_P(BadTar, IsRefusedWithOffsetAndReason) {
  const Result<std::vector<TarEntry>> entries = ParseTar(GetParam().tar);
  ASSERT_FALSE(entries.has_value());
  EXPECT_EQ(entries.error().code, GetParam().code) << entries.error().context;
  EXPECT_THAT(entries.error().context, HasSubstr(GetParam().message));
  EXPECT_THAT(entries.error().context, testing::StartsWith("tar offset "));
}

TEST_P(BadTar, IsRefusedAlikeByteForByte) {
  const Result<std::vector<TarEntry>> whole = ParseTar(GetParam().tar);
  const Result<std::vector<TarEntry>> bytes = ParseTar(GetParam().tar, 1);
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code, whole.error().code);
}

INSTANTIATE_TEST_SUITE_P(Tars, BadTar, testing::ValuesIn(BadCases()), [](const auto& info) {
  return CaseName(info.param.name) + "_" + std::to_string(info.index);
});

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

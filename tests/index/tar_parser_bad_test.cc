// SPDX-License-Identifier: Apache-2.0
// Tars that TarParser must refuse, each with its reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "index/tar_parser.h"
#include "tests/index/tar_parse_helper.h"
#include "tests/index/tar_writer.h"

namespace layerfs {
namespace {

using testing::HasSubstr;

struct BadCase {
  std::string name;
  Bytes tar;
  ErrorCode code;
  std::string message;  // a part of it
};
void PrintTo(const BadCase& bad, std::ostream* out) { *out << CaseName(bad.name); }

void Add(std::vector<BadCase>& cases, std::string name, const TarWriter& tar, std::string message,
         ErrorCode code = ErrorCode::kCorrupt) {
  cases.push_back({std::move(name), tar.WithoutEndMarker(), code, std::move(message)});
}

std::string Header(const TarItem& item) { return TarWriter::Header(item); }

void AddBadHeaders(std::vector<BadCase>& cases) {
  Add(cases, "should-fail-wrong-checksum",
      TarWriter().File("a").Raw(Header({.path = "b"}).replace(0, 1, "c")),
      "tar offset 512: header checksum is wrong");
  Add(cases, "should-fail-not-a-tar", TarWriter().Raw(Repeat('x', 512)),
      "tar offset 0: header checksum is wrong");
  Add(cases, "should-fail-unknown-type", TarWriter().File("a").Add({.path = "q", .type = 'Q'}),
      "tar offset 512: entries of type 'Q'", ErrorCode::kUnsupported);
  Add(cases, "should-fail-multi-volume", TarWriter().Add({.path = "m", .type = 'M'}), "type 'M'",
      ErrorCode::kUnsupported);
  Add(cases, "should-fail-volume-label", TarWriter().Add({.path = "v", .type = 'V'}), "type 'V'",
      ErrorCode::kUnsupported);
  Add(cases, "should-fail-type-that-does-not-print", TarWriter().Add({.path = "v", .type = '\x01'}),
      "type 1", ErrorCode::kUnsupported);
  Add(cases, "should-fail-star-sparse", TarWriter().Add({.path = "s", .type = 'S'}), "star",
      ErrorCode::kUnsupported);
}

void AddCutsAndEnds(std::vector<BadCase>& cases) {
  Add(cases, "should-fail-cut-in-header", TarWriter().File("a").Raw(Repeat('b', 100)),
      "tar offset 612: the tar ends in the middle of a header");
  Add(cases, "should-fail-cut-in-payload",
      TarWriter().Raw(Header({.path = "a", .content = "12345"})).Raw("1234"),
      "tar offset 516: the tar ends in the middle of a payload");
  Add(cases, "should-fail-cut-in-extension",
      TarWriter().Raw(Header({.path = "x", .type = 'x', .content = "12345"})).Raw("1"),
      "tar offset 513: the tar ends in the middle of an extension header");
  Add(cases, "should-fail-cut-behind-extension", TarWriter().Pax({{"path", "a"}}),
      "tar offset 1024: the tar ends in extension headers without an entry");
  Add(cases, "should-fail-extension-before-end-marker",
      TarWriter().Pax({{"path", "a"}}).Raw(Repeat('\0', 1024)),
      "tar offset 1024: extension headers without an entry");
  Add(cases, "should-fail-entry-behind-zero-block",
      TarWriter().File("a").Raw(Repeat('\0', 512)).File("b"),
      "tar offset 1024: an entry behind a zero block");
  Add(cases, "should-fail-data-behind-end-marker", TarWriter().Raw(Repeat('\0', 1024)).File("b"),
      "tar offset 1024: more than zeros");
  Add(cases, "should-fail-long-padding", TarWriter().Raw(Repeat('\0', 1024 + (1 << 20) + 1)),
      "behind the end-of-archive marker", ErrorCode::kTooLarge);
}

void AddBadNumbers(std::vector<BadCase>& cases) {
  Add(cases, "should-fail-size-not-octal",
      TarWriter().Raw(Patched({.path = "a"}, 124, "00000000009")), "tar offset 0: size");
  Add(cases, "should-fail-size-negative",
      TarWriter().Raw(Patched({.path = "a"}, 124, Repeat('\xff', 12))), "size");
  Add(cases, "should-fail-size-beyond-64-bits",
      TarWriter().Raw(
          Patched({.path = "a"}, 124, std::string("\x80\0\0\x01", 4) + Repeat('\0', 8))),
      "size");
  Add(cases, "should-fail-size-to-the-largest-offset",
      TarWriter().Raw(
          Patched({.path = "a"}, 124, std::string("\x80\0\0\0\x7f", 5) + Repeat('\xff', 7))),
      "the entry's end is beyond the largest offset");
  Add(cases, "should-fail-uid-minus-one",
      TarWriter().Raw(Patched({.path = "a"}, 108, std::string("\x80\0\0\0\xff\xff\xff\xff", 8))),
      "uid");
  Add(cases, "should-fail-gid-negative",
      TarWriter().Raw(Patched({.path = "a"}, 116, Repeat('\xff', 8))), "gid");
  Add(cases, "should-fail-mode-not-octal", TarWriter().Raw(Patched({.path = "a"}, 100, "rwxr-x")),
      "mode");
  Add(cases, "should-fail-mtime-beyond-64-bits",
      TarWriter().Raw(Patched({.path = "a"}, 136, "\x81" + Repeat('\0', 11))), "mtime");
  Add(cases, "should-fail-device-number", TarWriter().Device("d", '3', 4096, 0), "device major");
  Add(cases, "should-fail-link-without-target", TarWriter().Symlink("l", ""),
      "a link without a target");
}

void AddBadPax(std::vector<BadCase>& cases) {
  Add(cases, "should-fail-pax-nul-in-path", WithPax({{"path", std::string("a\0b", 3)}}),
      "tar offset 0: PAX record path: holds a NUL");
  Add(cases, "should-fail-pax-nul-in-linkpath", WithPax({{"linkpath", std::string("\0", 1)}}),
      "linkpath");
  Add(cases, "should-fail-pax-nul-in-sparse-name",
      WithPax({{"GNU.sparse.name", std::string("a\0", 2)}}), "GNU.sparse.name");
  Add(cases, "should-fail-pax-nul-in-key", WithPax({{std::string("a\0", 2), "v"}}),
      "malformed key");
  Add(cases, "should-fail-pax-size-overflow", WithPax({{"size", "9223372036854775808"}}), "size");
  Add(cases, "should-fail-pax-size-beyond-64-bits", WithPax({{"size", "18446744073709551616"}}),
      "size");
  Add(cases, "should-fail-pax-size-negative", WithPax({{"size", "-1"}}), "size");
  Add(cases, "should-fail-pax-size-with-sign", WithPax({{"size", "+1"}}), "size");
  Add(cases, "should-fail-pax-uid-minus-one", WithPax({{"uid", "4294967295"}}), "uid");
  Add(cases, "should-fail-pax-gid-words", WithPax({{"gid", "wheel"}}), "gid");
  Add(cases, "should-fail-pax-mtime-words", WithPax({{"mtime", "noon"}}), "mtime");
  Add(cases, "should-fail-pax-mtime-overflow", WithPax({{"mtime", "9223372036854775808"}}),
      "mtime");
  for (const std::string payload :
       {"path=a\n", "9 path=a", "99 path=a\n", "0 path=a\n", "2 \n", "10path=ab\n", "10 path=ab ",
        "7 path\n", "5 =a\n", "x", "99999999999999999999 a=b\n", "-5 a=b\n", " 6 a=b\n"}) {
    Add(cases, "should-fail-pax-record " + payload,
        TarWriter()
            .Raw(Header({.path = "x", .type = 'x', .content = payload}))
            .Payload(payload)
            .File("f"),
        "PAX record: malformed");
  }
  Add(cases, "should-fail-global-header-malformed",
      TarWriter().Raw(Header({.path = "g", .type = 'g', .content = "junk"})).Payload("junk"),
      "PAX record: malformed");
  Add(cases, "should-fail-libarchive-name-escape", WithPax({{"LIBARCHIVE.xattr.user.%4", "eA"}}),
      "malformed");
  Add(cases, "should-fail-libarchive-value", WithPax({{"LIBARCHIVE.xattr.user.a", "e!"}}),
      "malformed");
  Add(cases, "should-fail-xattr-name-beyond-linux",
      WithPax({{"SCHILY.xattr.user." + Repeat('n', 251), "v"}}), "user.nnnn", ErrorCode::kTooLarge);
  Add(cases, "should-fail-xattr-value-beyond-linux",
      WithPax({{"SCHILY.xattr.user.a", Repeat('v', 65537)}}), "user.a", ErrorCode::kTooLarge);
  Add(cases, "should-fail-extension-too-large",
      TarWriter().Raw(Header({.path = "x", .type = 'x', .claimed_size = (1 << 20) + 1})),
      "extension headers of more than", ErrorCode::kTooLarge);
  Add(cases, "should-fail-extensions-too-large-together",
      TarWriter()
          .GnuLong('L', Repeat('n', 600000))
          .Raw(Header({.path = "x", .type = 'K', .claimed_size = 600000})),
      "extension headers of more than", ErrorCode::kTooLarge);
  Add(cases, "should-fail-extension-size-overflow",
      TarWriter().Raw(Patched({.path = "x", .type = 'x'}, 124,
                              std::string("\x80\0\0\0\x7f", 5) + Repeat('\xff', 7))),
      "extension headers of more than", ErrorCode::kTooLarge);
  Add(cases, "should-fail-path-too-long", TarWriter().GnuLong('L', Repeat('n', 65537)).File("f"),
      "a path of more than", ErrorCode::kTooLarge);
}

void AddBadSparse(std::vector<BadCase>& cases) {
  const auto sparse = [](TarPairs more) {
    more.emplace_back("GNU.sparse.size", "50");
    return WithPax(more);
  };
  Add(cases, "should-fail-sparse-unknown-version",
      WithPax({{"GNU.sparse.major", "2"}, {"GNU.sparse.minor", "0"}}), "GNU sparse format 2.0",
      ErrorCode::kUnsupported);
  Add(cases, "should-fail-sparse-map-without-size", WithPax({{"GNU.sparse.map", "0,3"}}), "size");
  Add(cases, "should-fail-sparse-map-odd", sparse({{"GNU.sparse.map", "0,3,5"}}), "malformed");
  Add(cases, "should-fail-sparse-map-words", sparse({{"GNU.sparse.map", "a,b"}}), "malformed");
  Add(cases, "should-fail-sparse-map-empty-number", sparse({{"GNU.sparse.map", "0,,3"}}),
      "malformed");
  Add(cases, "should-fail-sparse-out-of-order", sparse({{"GNU.sparse.map", "20,1,10,2"}}),
      "out of order");
  Add(cases, "should-fail-sparse-overlap", sparse({{"GNU.sparse.map", "10,2,11,1"}}),
      "out of order");
  Add(cases, "should-fail-sparse-beyond-end", sparse({{"GNU.sparse.map", "48,3"}}),
      "behind the file's end");
  Add(cases, "should-fail-sparse-run-overflow",
      sparse({{"GNU.sparse.map", "1,18446744073709551615"}}), "behind the file's end");
  Add(cases, "should-fail-sparse-longer-than-payload", sparse({{"GNU.sparse.map", "0,4"}}),
      "longer than the payload");
  Add(cases, "should-fail-sparse-shorter-than-payload", sparse({{"GNU.sparse.map", "0,2"}}),
      "shorter than the payload");
  Add(cases, "should-fail-sparse-wrong-run-count",
      sparse({{"GNU.sparse.numblocks", "2"}, {"GNU.sparse.map", "0,3"}}), "as many runs");
  Add(cases, "should-fail-sparse-offset-twice",
      sparse({{"GNU.sparse.offset", "1"}, {"GNU.sparse.offset", "1"}}), "malformed");
  Add(cases, "should-fail-sparse-offset-alone", sparse({{"GNU.sparse.offset", "1"}}), "missing");
  Add(cases, "should-fail-sparse-numbytes-alone", sparse({{"GNU.sparse.numbytes", "1"}}),
      "malformed");
  const auto pax_1 = [](const std::string& content) {
    return TarWriter().Add({.path = "f",
                            .content = content,
                            .pax = {{"GNU.sparse.major", "1"},
                                    {"GNU.sparse.minor", "0"},
                                    {"GNU.sparse.realsize", "100"}}});
  };
  Add(cases, "should-fail-sparse-1.0-without-map", pax_1(""), "the middle of a sparse map");
  Add(cases, "should-fail-sparse-1.0-without-map-then-entry", pax_1("").File("next"),
      "longer than the payload");
  Add(cases, "should-fail-sparse-1.0-map-of-words", pax_1("two\n" + Repeat('\0', 508)),
      "not a number");
  Add(cases, "should-fail-sparse-1.0-empty-line", pax_1("\n" + Repeat('\0', 511)), "an empty line");
  Add(cases, "should-fail-sparse-1.0-map-too-large", pax_1("1000001\n" + Repeat('\0', 504)),
      "more than", ErrorCode::kTooLarge);
  Add(cases, "should-fail-sparse-1.0-number-too-long", pax_1(Repeat('1', 512)), "not a number");
  Add(cases, "should-fail-sparse-1.0-map-cut", pax_1("9\n" + Repeat('1', 400)),
      "longer than the payload");
  Add(cases, "should-fail-old-sparse-not-octal",
      TarWriter().Raw(Patched({.path = "s", .type = 'S', .dialect = TarDialect::kGnu}, 386, "zzz")),
      "sparse map: not a number");
  Add(cases, "should-fail-old-sparse-cut",
      TarWriter().Raw(Patched({.path = "s", .type = 'S', .dialect = TarDialect::kGnu}, 482, "\1")),
      "the middle of a sparse map");
}

std::vector<BadCase> BadCases() {
  std::vector<BadCase> cases;
  AddBadHeaders(cases);
  AddCutsAndEnds(cases);
  AddBadNumbers(cases);
  AddBadPax(cases);
  AddBadSparse(cases);
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

}  // namespace
}  // namespace layerfs

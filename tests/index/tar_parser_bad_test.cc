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

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace layerfs {
namespace {

std::string Golden(const std::string& name) {
  std::ifstream file(std::string(LAYERFS_GOLDEN_DIR) + "/startup-v1/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Trace ParseOrDie(std::string_view text) {
  auto trace = Trace::Parse(text);
  EXPECT_TRUE(trace.has_value()) << trace.error().context;
  return trace.has_value() ? *trace : Trace();
}

TEST(Trace, TheGoldenFileOfVersion1StaysReadableAndIsWrittenTheSame) {
  const std::string text = Golden("start.trace");
  ASSERT_FALSE(text.empty());
  const Trace trace = ParseOrDie(text);
  EXPECT_EQ(trace.page_count(), 9U);
  ASSERT_EQ(trace.entries.size(), 7U);
  EXPECT_EQ(trace.entries[0], (TraceEntry{"/usr/bin/python3.11", 0, 1}));
  EXPECT_EQ(trace.entries[3], (TraceEntry{"/usr/local/lib/python3.11", 0, 0}));
  EXPECT_EQ(trace.entries[6], (TraceEntry{"/odd/two\nlines and \\ caf\xe9", 2, 1}));
  const std::string comment[] = {"recorded from oci:app:latest until it was ready"};
  EXPECT_EQ(trace.Encode(comment), text);
}

struct BadTrace {
  const char* name;
  const char* text;
  ErrorCode code = ErrorCode::kCorrupt;
};

class BadTraceTest : public testing::TestWithParam<BadTrace> {};

TEST_P(BadTraceTest, IsRefusedWithItsLine) {
  const auto trace = Trace::Parse(GetParam().text);
  ASSERT_FALSE(trace.has_value());
  EXPECT_EQ(trace.error().code, GetParam().code);
  EXPECT_THAT(trace.error().context, testing::HasSubstr("trace"));
}

INSTANTIATE_TEST_SUITE_P(
    Trace, BadTraceTest,
    testing::Values(BadTrace{"Empty", ""}, BadTrace{"NoNewline", "layerfs trace 1"},
                    BadTrace{"OtherFile", "#!/bin/sh\n"},
                    BadTrace{"LaterVersion", "layerfs trace 2\n", ErrorCode::kUnsupported},
                    BadTrace{"OtherWord", "layerfs trace 1\nopen /a 0\n"},
                    BadTrace{"ReadWithoutPages", "layerfs trace 1\nread /a\n"},
                    BadTrace{"StatWithPages", "layerfs trace 1\nstat /a 0\n"},
                    BadTrace{"RelativePath", "layerfs trace 1\nread a 0\n"},
                    BadTrace{"DotDot", "layerfs trace 1\nread /a/../b 0\n"},
                    BadTrace{"DoubleSlash", "layerfs trace 1\nread //a 0\n"},
                    BadTrace{"TrailingSlash", "layerfs trace 1\nread /a/ 0\n"},
                    BadTrace{"NulInPath", "layerfs trace 1\nread /a\\x00 0\n"},
                    BadTrace{"BadEscape", "layerfs trace 1\nread /a\\x2 0\n"},
                    BadTrace{"NeedlessEscape", "layerfs trace 1\nread /\\x61 0\n"},
                    BadTrace{"UpperCaseEscape", "layerfs trace 1\nread /\\xE9 0\n"},
                    BadTrace{"RangeBackwards", "layerfs trace 1\nread /a 3-2\n"},
                    BadTrace{"PageTooLarge", "layerfs trace 1\nread /a 4294967296\n"},
                    BadTrace{"NegativePage", "layerfs trace 1\nread /a -1\n"},
                    BadTrace{"LeadingZero", "layerfs trace 1\nread /a 01\n"},
                    BadTrace{"TwoSpaces", "layerfs trace 1\nread /a  1\n"},
                    BadTrace{"TooManyPages", "layerfs trace 1\nread /a 0-4294967295\n",
                             ErrorCode::kTooLarge}),
    [](const auto& info) { return info.param.name; });

TEST(Trace, ARangeMayBeOnePage) {
  const Trace trace = ParseOrDie("layerfs trace 1\nread /a 3-3 5\n");
  EXPECT_EQ(trace.Encode(), "layerfs trace 1\nread /a 3 5\n");
}

TEST(Trace, IsRefusedAtTheFirstPathTooMany) {
  std::string text = "layerfs trace 1\n";
  for (size_t i = 0; i < kMaxTracePaths; ++i) text += "stat /" + std::to_string(i) + "\n";
  const auto trace = Trace::Parse(text + "read /0 0\nread /more 0\n");
  ASSERT_FALSE(trace.has_value());
  EXPECT_EQ(trace.error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(trace.error().context, "trace: line 1048579: more than 1048576 different paths");
}

TEST(Trace, OnlyTheFirstReadOfAPageCounts) {
  TraceBuilder builder;
  builder.Read("/a", 0, 4);
  builder.Read("/b", 0, 1);
  builder.Read("/a", 2, 4);
  EXPECT_EQ(std::move(builder).Finish().entries,
            (std::vector<TraceEntry>{{"/a", 0, 4}, {"/b", 0, 1}, {"/a", 4, 2}}));
}

TEST(Trace, APathThatIsReadIsNotOnlyLookedUp) {
  TraceBuilder builder;
  builder.Read("/a", 0, 1);
  builder.Stat("/a");
  builder.Stat("/b");
  builder.Stat("/b");
  builder.Read("/a", 1, 1);
  builder.Stat("/c");
  builder.Read("/c", 0, 1);
  EXPECT_EQ(std::move(builder).Finish().entries,
            (std::vector<TraceEntry>{{"/a", 0, 1}, {"/b", 0, 0}, {"/a", 1, 1}, {"/c", 0, 1}}));
}

TEST(Trace, WhatStoodBetweenTwoRunsAndIsGoneLeavesOneRun) {
  TraceBuilder builder;
  builder.Read("/a", 0, 1);
  builder.Stat("/b");
  builder.Read("/a", 1, 1);
  builder.Read("/b", 0, 1);
  EXPECT_EQ(std::move(builder).Finish().entries,
            (std::vector<TraceEntry>{{"/a", 0, 2}, {"/b", 0, 1}}));
}

TEST(Trace, AMergedPageStandsWhereItStoodEarliest) {
  const Trace one = ParseOrDie("layerfs trace 1\nread /a 0\nread /b 0-2\nstat /late\n");
  const Trace two = ParseOrDie("layerfs trace 1\nread /c 0\nread /late 0\nread /a 0 1\n");
  const Trace both[] = {one, two};
  EXPECT_EQ(MergeTraces(both).Encode(),
            "layerfs trace 1\nread /a 0\nread /c 0\nread /b 0\nread /late 0\nread /b 1-2\n"
            "read /a 1\n");
}

TEST(Trace, MergingATraceWithItselfChangesNothing) {
  const Trace one = ParseOrDie(Golden("start.trace"));
  const Trace twice[] = {one, one};
  EXPECT_EQ(MergeTraces(twice).entries, one.entries);
}

// Two files that are read in turn take a line for each page.
TEST(Trace, WhatIsMergedCanBeReadAgain) {
  const auto trace_of = [](const char* letter) {
    std::string path;
    for (int i = 0; i < 15; ++i) path += "/" + std::string(250, '\xe9');
    TraceBuilder builder;
    EXPECT_TRUE(builder.Read(path + "/" + letter, 0, 4000));
    return std::move(builder).Finish();
  };
  const Trace both[] = {trace_of("a"), trace_of("b")};
  const std::string text = MergeTraces(both).Encode();
  EXPECT_GT(text.size(), kMaxTraceBytes / 2);
  EXPECT_LE(text.size(), kMaxTraceBytes);
  EXPECT_TRUE(Trace::Parse(text).has_value());
}

}  // namespace
}  // namespace layerfs

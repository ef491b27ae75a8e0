// SPDX-License-Identifier: Apache-2.0
// What GzipStreamDecoder promises its caller; what it makes of good and bad streams is in
// layer_decoder_test.cc.
#include "index/base/inflate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/index/base/gzip_writer.h"

namespace layerfs {
namespace {

TEST(GzipStreamDecoder, FillsOutputsOfAnySize) {
  const std::string blob = LinesGzipDynamic() + HelloGzipFixed();
  const std::string expected = LinesText() + "hello hello hello";
  for (const size_t size : {1, 3, 1000, 32768, 100000}) {
    GzipStreamDecoder decoder;
    Bytes output(size);
    std::string decoded;
    ByteSpan input = AsBytes(blob);
    size_t written = 0;
    do {
      const Result<size_t> result = decoder.Decode(input, output);
      ASSERT_TRUE(result.has_value()) << result.error().context;
      written = *result;
      decoded += AsText(ByteSpan(output).first(written));
    } while (!input.empty() || written == size);
    EXPECT_TRUE(decoded == expected) << size;
    EXPECT_TRUE(decoder.at_member_end());
  }
}

TEST(GzipStreamDecoder, AFullOutputLeavesTheRestForTheNextCall) {
  const std::string blob = HelloGzipFixed();
  GzipStreamDecoder decoder;
  Bytes output(5);
  ByteSpan input = AsBytes(blob);
  EXPECT_EQ(*decoder.Decode(input, output), 5U);
  EXPECT_EQ(AsText(output), "hello");
  EXPECT_FALSE(decoder.at_member_end());
  EXPECT_EQ(*decoder.Decode(input, output), 5U);
  EXPECT_EQ(AsText(output), " hell");
}

TEST(GzipStreamDecoder, IsAtAMembersEndOnlyBehindOne) {
  const std::string blob = HelloGzipFixed();
  GzipStreamDecoder decoder;
  EXPECT_FALSE(decoder.at_member_end()) << "nothing is no gzip stream";
  Bytes output(100);
  for (size_t i = 0; i < blob.size(); ++i) {
    ByteSpan input = AsBytes(blob).subspan(i, 1);
    ASSERT_TRUE(decoder.Decode(input, output).has_value());
    EXPECT_TRUE(input.empty());
    EXPECT_EQ(decoder.at_member_end(), i + 1 == blob.size()) << i;
  }
}

TEST(GzipStreamDecoder, CanBeMovedInTheMiddle) {
  const std::string blob = HelloGzipFixed();
  GzipStreamDecoder first;
  Bytes output(100);
  ByteSpan input = AsBytes(blob).first(16);
  const Result<size_t> before = first.Decode(input, output);
  ASSERT_TRUE(before.has_value());
  std::string decoded(AsText(ByteSpan(output).first(*before)));
  GzipStreamDecoder second = std::move(first);
  input = AsBytes(blob).subspan(16);
  const Result<size_t> after = second.Decode(input, output);
  ASSERT_TRUE(after.has_value());
  decoded += AsText(ByteSpan(output).first(*after));
  EXPECT_EQ(decoded, "hello hello hello");
}

TEST(GzipStreamDecoder, ErrorLeavesTheInputAtTheTrouble) {
  const std::string good = HelloGzipFixed();
  const std::string blob = good + "xyz";
  GzipStreamDecoder decoder;
  Bytes output(100);
  ByteSpan input = AsBytes(blob);
  const Result<size_t> result = decoder.Decode(input, output);
  ASSERT_FALSE(result.has_value());
  EXPECT_THAT(result.error().context, testing::HasSubstr("trailing garbage"));
  EXPECT_LE(input.size(), 3U);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/gzip_codec.h"

#include <gtest/gtest.h>

#include <string>

namespace layerfs {
namespace {

Bytes Member(const std::string& content, int level = 6) {
  Bytes room(GzipCompressor::Bound(content.size()));
  const Result<size_t> size = GzipCompressor(level).CompressInto(AsBytes(content), room);
  EXPECT_TRUE(size.has_value());
  room.resize(size.value_or(0));
  return room;
}

Result<std::string> Decompress(const Bytes& members, size_t size) {
  Bytes out(size);
  LAYERFS_CHECK_OK(GzipDecompressor().Decompress(members, out));
  return std::string(AsText(out));
}

TEST(GzipCodec, AMemberHoldsItsBytesAtEveryLevel) {
  std::string content(300000, 'x');
  for (size_t i = 0; i < content.size(); i += 7) content[i] = static_cast<char>(i * i % 251);
  for (int level = kMinGzipLevel; level <= kMaxGzipLevel; ++level) {
    EXPECT_EQ(Decompress(Member(content, level), content.size()).value(), content) << level;
  }
  EXPECT_EQ(Decompress(Member(""), 0).value(), "");
}

TEST(GzipCodec, MembersInARowAreOneContent) {
  Bytes members = Member("one ");
  const Bytes second = Member("two");
  members.insert(members.end(), second.begin(), second.end());
  EXPECT_EQ(Decompress(members, 7).value(), "one two");
}

TEST(GzipCodec, AnotherSizeThanThePromisedIsCorrupt) {
  EXPECT_EQ(Decompress(Member("content"), 6).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(Decompress(Member("content"), 8).error().code, ErrorCode::kCorrupt);
  // A bomb costs no more than the promised size.
  EXPECT_EQ(Decompress(Member(std::string(10 << 20, '\0')), 10).error().code, ErrorCode::kCorrupt);
}

TEST(GzipCodec, EveryTruncationAndTrailingBytesAreCorrupt) {
  Bytes member = Member("some content, some content, some content");
  for (size_t size = 0; size < member.size(); ++size) {
    const Bytes cut(member.begin(), member.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_FALSE(Decompress(cut, 40).has_value()) << size;
  }
  member.push_back(0);
  EXPECT_FALSE(Decompress(member, 40).has_value());
}

// The last byte of the deflate stream has bits that mean nothing.
TEST(GzipCodec, AFlippedBodyNeverGivesOtherContent) {
  const std::string content = "some content, some content, some content";
  const Bytes member = Member(content);
  for (size_t at = 10; at < member.size(); ++at) {
    Bytes flipped = member;
    flipped[at] ^= 0x10;
    EXPECT_EQ(Decompress(flipped, content.size()).value_or(content), content) << at;
  }
}

}  // namespace
}  // namespace layerfs

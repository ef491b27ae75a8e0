// SPDX-License-Identifier: Apache-2.0
#include "index/base/bytes.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace layerfs {
namespace {

TEST(CheckedArithmetic, OverflowIsNothing) {
  EXPECT_EQ(CheckedAdd<uint64_t>(1, 2), 3U);
  EXPECT_EQ(CheckedAdd<uint64_t>(UINT64_MAX, 0), UINT64_MAX);
  EXPECT_EQ(CheckedAdd<uint64_t>(UINT64_MAX, 1), std::nullopt);
  EXPECT_EQ(CheckedMul<uint32_t>(1 << 16, 1 << 15), 1U << 31);
  EXPECT_EQ(CheckedMul<uint32_t>(1 << 16, 1 << 16), std::nullopt);
  EXPECT_EQ(CheckedAdd<int64_t>(INT64_MIN, -1), std::nullopt);
}

TEST(RangeFits, DoesNotOverflow) {
  EXPECT_TRUE(RangeFits(0, 0, 0));
  EXPECT_TRUE(RangeFits(3, 7, 10));
  EXPECT_TRUE(RangeFits(10, 0, 10));
  EXPECT_FALSE(RangeFits(3, 8, 10));
  EXPECT_FALSE(RangeFits(11, 0, 10));
  EXPECT_FALSE(RangeFits(UINT64_MAX, 2, 10));
  EXPECT_FALSE(RangeFits(2, UINT64_MAX, 10));
}

TEST(AlignUp, RoundsToThePowerOfTwo) {
  EXPECT_EQ(AlignUp(0, 512), 0U);
  EXPECT_EQ(AlignUp(1, 512), 512U);
  EXPECT_EQ(AlignUp(512, 512), 512U);
  EXPECT_EQ(AlignUp(513, 512), 1024U);
}

TEST(ByteReader, ReadsWhatTheWriterWrote) {
  ByteWriter writer;
  writer.Write<uint8_t>(1);
  writer.Write<uint16_t>(0x0203);
  writer.Write<int64_t>(-4);
  writer.PadTo(16);
  writer.WriteSpan(AsBytes("text"));
  EXPECT_EQ(writer.size(), 20U);
  const Bytes bytes = std::move(writer).Take();
  EXPECT_EQ(bytes[1], 3);  // little-endian
  ByteReader reader(bytes);
  EXPECT_EQ(reader.Read<uint8_t>(), 1);
  EXPECT_EQ(reader.Read<uint16_t>(), 0x0203);
  EXPECT_EQ(reader.Read<int64_t>(), -4);
  EXPECT_EQ(reader.position(), 11U);
  reader.Skip(5);
  EXPECT_EQ(AsText(reader.ReadSpan(4)), "text");
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReader, AReadPastTheEndIsZeroAndFailsForGood) {
  const Bytes bytes = {1, 2, 3};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.Read<uint32_t>(), 0U);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Read<uint8_t>(), 0U);  // though a byte is there
  EXPECT_TRUE(reader.ReadSpan(1).empty());
  EXPECT_EQ(reader.position(), 0U);
}

TEST(ByteReader, ASpanPastTheEndFails) {
  const Bytes bytes = {1, 2, 3};
  ByteReader reader(bytes);
  reader.Skip(2);
  EXPECT_TRUE(reader.ReadSpan(SIZE_MAX).empty());
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/large_buffer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <new>
#include <utility>

#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

bool AllAre(ByteSpan bytes, uint8_t value) {
  return std::ranges::all_of(bytes, [value](uint8_t byte) { return byte == value; });
}

TEST(LargeBufferTest, IsZeroedAndWritableFromEndToEnd) {
  for (const size_t size : {size_t{0}, size_t{1}, kMiB / 2 - 1, kMiB / 2, 2 * kMiB, 2 * kMiB + 1}) {
    LargeBuffer buffer(size);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_TRUE(AllAre(buffer, 0)) << size;
    std::ranges::fill(MutableByteSpan(buffer), uint8_t{7});
    EXPECT_TRUE(AllAre(buffer, 7)) << size;
  }
}

TEST(LargeBufferTest, MovesItsMemory) {
  LargeBuffer from(3 * kMiB);
  const uint8_t* const data = from.data();
  LargeBuffer to(std::move(from));
  EXPECT_EQ(to.data(), data);
  EXPECT_EQ(to.size(), 3 * kMiB);
  EXPECT_EQ(from.data(), nullptr);  // NOLINT(bugprone-use-after-move): it is empty
  EXPECT_EQ(from.size(), 0U);
  from = std::move(to);
  EXPECT_EQ(from.data(), data);
  from = {};
  EXPECT_EQ(from.size(), 0U);
}

TEST(LargeBufferTest, WhatCannotBeHadIsBadAlloc) {
  EXPECT_THROW(LargeBuffer(SIZE_MAX), std::bad_alloc);
  EXPECT_THROW(LargeBuffer(SIZE_MAX / 2), std::bad_alloc);
}

TEST(LargeBufferTest, ComesInHugePages) {
  constexpr uint64_t kMaxWords = 100;
  const auto enabled = ReadFile("/sys/kernel/mm/transparent_hugepage/enabled", kMaxWords);
  if (!enabled.has_value() || AsText(*enabled).find("[never]") != std::string_view::npos) {
    GTEST_SKIP() << "the kernel gives no huge pages";
  }
  constexpr size_t kSize = 32 * kMiB;
  LargeBuffer buffer(kSize);
  rusage before{};
  rusage after{};
  ASSERT_EQ(::getrusage(RUSAGE_THREAD, &before), 0);
  for (size_t at = 0; at < kSize; at += 4096) buffer.data()[at] = 1;
  ASSERT_EQ(::getrusage(RUSAGE_THREAD, &after), 0);
  // One for each 2 MiB, and room for a machine whose memory is in pieces.
  EXPECT_LT(after.ru_minflt - before.ru_minflt, long{kSize / 4096 / 4});
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/buffer_pool.h"

#include <gtest/gtest.h>

#include <utility>

namespace layerfs {
namespace {

constexpr size_t kKiB = 1024;

TEST(BufferPool, AUsedBufferServesWhoNeedsAsMuch) {
  BufferPool pool(1024 * kKiB);
  Bytes first = pool.Take(200 * kKiB);
  first.resize(150 * kKiB);
  const uint8_t* const place = first.data();
  pool.Give(std::move(first));
  Bytes again = pool.Take(190 * kKiB);
  EXPECT_EQ(again.data(), place);
  EXPECT_TRUE(again.empty());
  EXPECT_GE(again.capacity(), 190 * kKiB);
}

TEST(BufferPool, NobodyGetsAMuchLargerOneOrOneThatIsTooSmall) {
  BufferPool pool(4096 * kKiB);
  Bytes small = pool.Take(128 * kKiB);
  Bytes large = pool.Take(1024 * kKiB);
  const uint8_t* const small_place = small.data();
  const uint8_t* const large_place = large.data();
  pool.Give(std::move(small));
  pool.Give(std::move(large));
  const Bytes between = pool.Take(300 * kKiB);
  EXPECT_NE(between.data(), small_place);
  EXPECT_NE(between.data(), large_place);
  EXPECT_EQ(pool.Take(100 * kKiB).data(), small_place);
  EXPECT_EQ(pool.Take(1000 * kKiB).data(), large_place);
}

TEST(BufferPool, KeepsThoseThatWereGivenLast) {
  BufferPool pool(512 * kKiB);
  Bytes old = pool.Take(256 * kKiB);
  Bytes one = pool.Take(256 * kKiB);
  Bytes two = pool.Take(256 * kKiB);
  const uint8_t* const one_place = one.data();
  const uint8_t* const two_place = two.data();
  pool.Give(std::move(old));
  pool.Give(std::move(one));
  pool.Give(std::move(two));
  EXPECT_EQ(pool.Take(256 * kKiB).data(), two_place);
  EXPECT_EQ(pool.Take(256 * kKiB).data(), one_place);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/tar_index_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/index/layer_stack.h"

namespace layerfs {
namespace {

using ::testing::HasSubstr;

// What a check that sees `tar` says of the index of `indexed`.
std::string Difference(const TarWriter& tar, const TarWriter& indexed) {
  const Bytes bytes = TarWriter(tar).Finish();
  TarIndexCheck check;
  for (size_t at = 0; at < bytes.size(); at += 100) {
    check.Feed(ByteSpan(bytes).subspan(at, std::min<size_t>(100, bytes.size() - at)));
  }
  const auto index = BuildLayer(TarWriter(indexed).Finish());
  EXPECT_TRUE(index.has_value()) << index.error().context;
  const auto different = check.Finish(*index);
  EXPECT_TRUE(different.has_value()) << different.error().context;
  return different->value_or("");
}

TarWriter Tar(const std::string& name, const std::string& content = "x", uint32_t mode = 0644) {
  return TarWriter().Directory("d").File("d/" + name, content, mode).Symlink("s", "d");
}

TEST(TarIndexCheckTest, ATarsOwnIndexIsNotDifferent) {
  EXPECT_EQ(Difference(Tar("f"), Tar("f")), "");
}

TEST(TarIndexCheckTest, TheFirstDifferenceIsTold) {
  EXPECT_THAT(Difference(Tar("f"), Tar("g")), HasSubstr("its tar has '/d/f' file"));
  EXPECT_THAT(Difference(Tar("f"), Tar("g")), HasSubstr("its index has '/d/g' file"));
  EXPECT_THAT(Difference(Tar("f"), Tar("f", "x", 04755)), HasSubstr("file 4755"));
  EXPECT_THAT(Difference(Tar("f"), Tar("f").File("z")), HasSubstr("no more; its index has '/z'"));
  EXPECT_THAT(Difference(Tar("f").File("z"), Tar("f")), HasSubstr("'/z'"));
  EXPECT_THAT(Difference(Tar("f"), Tar("f", std::string(600, 'x'))), HasSubstr("600"));
}

TEST(TarIndexCheckTest, ATarThatNobodyCanIndexIsTold) {
  EXPECT_THAT(Difference(TarWriter().File("../f"), Tar("f")), HasSubstr("cannot be indexed: "));
}

}  // namespace
}  // namespace layerfs

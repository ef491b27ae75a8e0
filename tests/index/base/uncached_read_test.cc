// SPDX-License-Identifier: Apache-2.0
#include "index/base/uncached_read.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "index/base/file.h"

namespace layerfs {
namespace {

constexpr size_t kFileBytes = size_t{256} << 10;

class UncachedReadTest : public testing::Test {
 protected:
  void SetUp() override {
    // Not /tmp, which may be memory.
    std::string name = "/var/tmp/layerfs-uncached-read.XXXXXX";
    file_.Reset(::mkstemp(name.data()));
    ASSERT_TRUE(file_.valid());
    ::unlink(name.c_str());
    ASSERT_TRUE(WriteFull(file_.get(), AsBytes(std::string(kFileBytes, 'c'))).has_value());
  }
  // Of the file's, in the page cache.
  size_t PagesInMemory() const {
    void* const mapped = ::mmap(nullptr, kFileBytes, PROT_READ, MAP_SHARED, file_.get(), 0);
    std::vector<unsigned char> in_memory(kFileBytes / 4096);
    ::mincore(mapped, kFileBytes, in_memory.data());
    ::munmap(mapped, kFileBytes);
    return static_cast<size_t>(
        std::ranges::count_if(in_memory, [](unsigned char page) { return (page & 1) != 0; }));
  }

  UniqueFd file_;
  Bytes out_ = Bytes(kFileBytes / 2);
};

TEST_F(UncachedReadTest, ReadsExactlyOrFailsAsAPlainReadDoes) {
  ASSERT_TRUE(ReadFullAtUncached(file_.get(), 4096, out_).has_value());
  EXPECT_EQ(AsText(out_), std::string(out_.size(), 'c'));
  const Status beyond = ReadFullAtUncached(file_.get(), kFileBytes - 4096, out_);
  ASSERT_FALSE(beyond.has_value());
  EXPECT_EQ(beyond.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(beyond.error().context, testing::HasSubstr(std::to_string(kFileBytes)));
  EXPECT_FALSE(ReadFullAtUncached(-1, 0, out_).has_value());
}

TEST_F(UncachedReadTest, LeavesThePageCacheAsItWas) {
  iovec target{out_.data(), out_.size()};
  if (::preadv2(file_.get(), &target, 1, 0, 0x80) < 0) {
    GTEST_SKIP() << "the file system or the kernel cannot read without caching";
  }
  ASSERT_EQ(::fsync(file_.get()), 0);
  ASSERT_EQ(::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  ASSERT_EQ(PagesInMemory(), 0U);
  ASSERT_TRUE(ReadFullAtUncached(file_.get(), 4096, out_).has_value());
  EXPECT_EQ(PagesInMemory(), 0U);
  ASSERT_TRUE(ReadFullAt(file_.get(), 4096, out_).has_value());
  EXPECT_GE(PagesInMemory(), out_.size() / 4096);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

namespace layerfs {
namespace {

namespace stdfs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = (stdfs::temp_directory_path() / "layerfs-file-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override {
    std::error_code ignored;
    stdfs::remove_all(directory_, ignored);
  }
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  void Write(const std::string& name, std::string_view text) {
    ASSERT_TRUE(WriteFileAtomically(Path(name), AsBytes(text)).has_value());
  }
  size_t FileCount() const {
    return static_cast<size_t>(std::distance(stdfs::directory_iterator(directory_), {}));
  }

  std::string directory_;
};

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST_F(FileTest, UniqueFdClosesOnceAndMoves) {
  Write("f", "x");
  Result<UniqueFd> opened = OpenFile(Path("f"), O_RDONLY);
  ASSERT_TRUE(opened.has_value());
  UniqueFd first = std::move(*opened);
  const int fd = first.get();
  UniqueFd second = std::move(first);
  EXPECT_TRUE(IsOpen(fd));
  EXPECT_EQ(second.get(), fd);
  second = UniqueFd();
  EXPECT_FALSE(IsOpen(fd));
  EXPECT_FALSE(second.valid());
}

TEST_F(FileTest, OpenedFilesAreNotInherited) {
  Write("f", "x");
  const Result<UniqueFd> fd = OpenFile(Path("f"), O_RDONLY);
  ASSERT_TRUE(fd.has_value());
  EXPECT_NE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(FileTest, OpenErrorNamesThePath) {
  const Result<UniqueFd> fd = OpenFile(Path("missing"), O_RDONLY);
  ASSERT_FALSE(fd.has_value());
  EXPECT_EQ(fd.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(fd.error().system_errno, ENOENT);
  EXPECT_THAT(fd.error().context, testing::HasSubstr(Path("missing")));
}

TEST_F(FileTest, ReadAtReadsExactlyOrIsCorrupt) {
  Write("f", "0123456789");
  const Result<UniqueFd> fd = OpenFile(Path("f"), O_RDONLY);
  ASSERT_TRUE(fd.has_value());
  EXPECT_EQ(*FileSize(fd->get()), 10U);
  Bytes out(4);
  ASSERT_TRUE(ReadFullAt(fd->get(), 6, out).has_value());
  EXPECT_EQ(AsText(out), "6789");
  const Status status = ReadFullAt(fd->get(), 7, out);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(ReadFullAt(-1, 0, out).has_value());
}

TEST_F(FileTest, WriteAtWritesAtTheOffset) {
  const Result<UniqueFd> fd = OpenFile(Path("f"), O_RDWR | O_CREAT);
  ASSERT_TRUE(fd.has_value());
  ASSERT_TRUE(WriteFullAt(fd->get(), 3, AsBytes("def")).has_value());
  ASSERT_TRUE(WriteFullAt(fd->get(), 0, AsBytes("abc")).has_value());
  ASSERT_TRUE(WriteFull(fd->get(), AsBytes("A")).has_value());
  EXPECT_EQ(AsText(*ReadFile(Path("f"), 100)), "Abcdef");
}

TEST_F(FileTest, ReadFileStopsAtTheLimit) {
  Write("f", std::string(100000, 'x'));
  EXPECT_EQ(ReadFile(Path("f"), 100000)->size(), 100000U);
  const Result<Bytes> contents = ReadFile(Path("f"), 99999);
  ASSERT_FALSE(contents.has_value());
  EXPECT_EQ(contents.error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(ReadFile("/dev/zero", 1 << 20).error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(ReadFile(directory_, 100).error().system_errno, EISDIR);
}

TEST_F(FileTest, AtomicWriteReplacesWithModeAndLeavesNothingBeside) {
  Write("f", "old");
  ASSERT_TRUE(
      WriteFileAtomically(Path("f"), AsBytes("new"), {.mode = 0600, .durable = true}).has_value());
  EXPECT_EQ(AsText(*ReadFile(Path("f"), 100)), "new");
  struct stat attributes;
  ASSERT_EQ(::stat(Path("f").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 07777, 0600U);
  EXPECT_EQ(FileCount(), 1U);
}

TEST_F(FileTest, AtomicWriteThatFailsLeavesTheOldAndNothingBeside) {
  ASSERT_TRUE(MakeDirectories(Path("f/child")).has_value());
  const Status onto_directory = WriteFileAtomically(Path("f"), AsBytes("new"));
  ASSERT_FALSE(onto_directory.has_value());
  EXPECT_THAT(onto_directory.error().context, testing::HasSubstr(Path("f")));
  EXPECT_TRUE(stdfs::is_directory(Path("f/child")));
  EXPECT_EQ(FileCount(), 1U);
  EXPECT_EQ(WriteFileAtomically(Path("missing/f"), {}).error().code, ErrorCode::kNotFound);
}

TEST_F(FileTest, MakeDirectoriesMakesParentsAndAcceptsWhatIsThere) {
  ASSERT_TRUE(MakeDirectories(Path("a/b//c/")).has_value());
  ASSERT_TRUE(MakeDirectories(Path("a/b/c")).has_value());
  EXPECT_TRUE(stdfs::is_directory(Path("a/b/c")));
  stdfs::create_directory_symlink(Path("a"), Path("link"));
  EXPECT_TRUE(MakeDirectories(Path("link/d")).has_value());
  Write("file", "x");
  EXPECT_FALSE(MakeDirectories(Path("file")).has_value());
  EXPECT_FALSE(MakeDirectories(Path("file/d")).has_value());
}

TEST_F(FileTest, MappedFileShowsTheBytesAndMoves) {
  Write("f", "mapped");
  Result<MappedFile> mapped = MappedFile::Open(Path("f"));
  ASSERT_TRUE(mapped.has_value());
  MappedFile moved = std::move(*mapped);
  EXPECT_EQ(AsText(moved.bytes()), "mapped");
  EXPECT_TRUE(mapped->bytes().empty());
  moved.DropResident();
  EXPECT_EQ(AsText(moved.bytes()), "mapped");
}

TEST_F(FileTest, MappedFileMayBeEmptyAndMayBeMissing) {
  Write("empty", "");
  const Result<MappedFile> empty = MappedFile::Open(Path("empty"));
  ASSERT_TRUE(empty.has_value());
  EXPECT_TRUE(empty->bytes().empty());
  empty->DropResident();
  EXPECT_EQ(MappedFile::Open(Path("missing")).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace layerfs

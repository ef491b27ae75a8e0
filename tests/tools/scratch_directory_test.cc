// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/scratch_directory.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "tests/fetch/temp_dir.h"

namespace layerfs {
namespace {

namespace fs = std::filesystem;

void Fill(const std::string& directory) {
  fs::create_directories(directory + "/a/b");
  ASSERT_TRUE(WriteFileAtomically(directory + "/a/b/file", AsBytes("x")).has_value());
  fs::create_symlink("/", directory + "/a/link");
}

// As a process that is killed leaves it.
std::string LeftBehind(const std::string& parent) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    auto made = ScratchDirectory::Make("test", parent);
    Fill(made->path());
    (void)WriteFull(ends[1], AsBytes(made->path()));
    std::_Exit(0);
  }
  ::close(ends[1]);
  char path[4096];
  const ssize_t size = ::read(ends[0], path, sizeof path);
  ::close(ends[0]);
  ::waitpid(pid, nullptr, 0);
  return {path, static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

TEST(ScratchDirectory, GoesWithTheObjectAndAllThatIsInIt) {
  const TempDir temp;
  {
    auto made = ScratchDirectory::Make("test", temp.path());
    ASSERT_TRUE(made.has_value());
    Fill(made->path());
  }
  EXPECT_TRUE(fs::is_empty(temp.path()));
}

TEST(ScratchDirectory, WhatIsMountedInItIsNotTouched) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to mount";
  const TempDir temp;
  Fill(temp.path() + "/elsewhere");
  const pid_t pid = ::fork();
  if (pid == 0) {
    const bool alone = ::unshare(CLONE_NEWNS) == 0 &&
                       ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    auto made = ScratchDirectory::Make("test", temp.path());
    Fill(made->path());
    const std::string point = made->path() + "/a";
    const bool mounted = alone && ::mount((temp.path() + "/elsewhere/a/b").c_str(), point.c_str(),
                                          nullptr, MS_BIND, nullptr) == 0;
    {
      const ScratchDirectory goes(std::move(*made));
    }
    std::_Exit(mounted ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(temp.path() + "/elsewhere/a/b/file"));
}

TEST(ScratchDirectory, TheNextOneRemovesWhatAKilledProcessHasLeft) {
  const TempDir temp;
  const std::string left = LeftBehind(temp.path());
  ASSERT_TRUE(fs::exists(left));
  auto made = ScratchDirectory::Make("test", temp.path());
  ASSERT_TRUE(made.has_value());
  EXPECT_FALSE(fs::exists(left));
  EXPECT_EQ(made->swept(), std::vector{fs::path(left).filename().string()});
}

TEST(ScratchDirectory, WhatIsInUseStays) {
  const TempDir temp;
  auto first = ScratchDirectory::Make("test", temp.path());
  ASSERT_TRUE(first.has_value());
  const std::string path = first->path();
  std::optional<ScratchDirectory> moved(std::move(*first));
  auto second = ScratchDirectory::Make("test", temp.path());
  ASSERT_TRUE(second.has_value());
  EXPECT_TRUE(fs::exists(path));
  EXPECT_TRUE(second->swept().empty());
}

TEST(ScratchDirectory, WhatIsNotOfItsKindStays) {
  const TempDir temp;
  for (const char* name : {"test", "test.12345", "test.1234567", "other.123456"}) {
    fs::create_directory(temp.path() + "/" + name);
  }
  fs::create_directory_symlink(temp.path() + "/test", temp.path() + "/test.123456");
  ASSERT_TRUE(WriteFileAtomically(temp.path() + "/test.abcdef", AsBytes("x")).has_value());
  ASSERT_TRUE(ScratchDirectory::Make("test", temp.path()).has_value());
  EXPECT_EQ(std::distance(fs::directory_iterator(temp.path()), fs::directory_iterator()), 6);
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Processes that write to one cache are killed at any moment; what is marked present must be right,
// and nothing may stay locked or be left over.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <thread>

#include "tests/fetch/cache_testing.h"

namespace layerfs {
namespace {

constexpr size_t kPage = kCachePageBytes;
constexpr size_t kObjects = 12;

// Large objects that are filled page by page, and small ones that are written at once.
Bytes ContentOf(uint64_t object) {
  return PatternBytes(object % 3 == 0 ? 7 * kPage + 11 : 96 * kPage + object, 500 + object);
}

std::vector<Bytes> AllContents() {
  std::vector<Bytes> contents;
  for (uint64_t i = 0; i < kObjects; ++i) contents.push_back(ContentOf(i));
  return contents;
}

// Writes and evicts at random, for ever.
[[noreturn]] void WriteUntilKilled(const std::string& directory, const std::vector<Bytes>& contents,
                                   uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto cache = OpenCache(directory, 4 << 20);
  while (true) {
    const Bytes& content = contents[random() % contents.size()];
    const auto object = OpenObject(*cache, IdOf(content));
    if (content.size() < 16 * kPage) {
      static_cast<void>(object->Write(0, content));
    } else {
      for (int i = 0; i < 20; ++i) {
        const size_t page = random() % (content.size() / kPage);
        const size_t size = std::min(content.size() - page * kPage, (1 + random() % 4) * kPage);
        static_cast<void>(object->TryClaim(page * kPage, size));
        static_cast<void>(object->Write(page * kPage, Part(content, page * kPage, size)));
        if (random() % 2 == 0) object->Unclaim(page * kPage, size);
      }
    }
    if (random() % 64 == 0) static_cast<void>(cache->Prune(random() % (1 << 20)));
    static_cast<void>(cache->WriteDocument("doc", AsBytes(std::string(random() % 5000, 'd'))));
  }
}

// Every page that is said to be there is right; returns how many there were.
size_t VerifyMarkedPages(ObjectCache& cache, const std::vector<Bytes>& contents) {
  size_t present = 0;
  for (const Bytes& content : contents) {
    const auto object = OpenObject(cache, IdOf(content));
    for (size_t offset = 0; offset < content.size(); offset += kPage) {
      const size_t size = std::min(kPage, content.size() - offset);
      if (!object->Contains(offset, size)) continue;
      ++present;
      const Bytes found = ReadRange(*object, offset, size);
      EXPECT_TRUE(
          std::equal(found.begin(), found.end(), content.begin() + static_cast<ptrdiff_t>(offset)))
          << object->id().digest.ToString() << " at " << offset;
    }
  }
  return present;
}

TEST(CacheCrashTest, WhatIsMarkedIsRightHoweverOftenTheWritersAreKilled) {
  const TemporaryDirectory directory;
  const std::string path = directory / "cache";
  const std::vector<Bytes> contents = AllContents();
  OpenCache(path);
  std::mt19937_64 random(7);
  size_t seen = 0;
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<pid_t> writers;
    for (int i = 0; i < 2; ++i) {
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) WriteUntilKilled(path, contents, random() + static_cast<uint64_t>(i));
      writers.push_back(child);
    }
    // What matters is that they are killed at no particular point.
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 30 + 5));
    for (const pid_t writer : writers) ::kill(writer, SIGKILL);
    for (const pid_t writer : writers) ::waitpid(writer, nullptr, 0);
    const auto cache = OpenCache(path);
    seen += VerifyMarkedPages(*cache, contents);
    for (const Bytes& content : contents) {
      const auto object = OpenObject(*cache, IdOf(content));
      EXPECT_TRUE(object->TryClaim(0, content.size())) << "a claim outlived its process";
      object->Unclaim(0, content.size());
    }
  }
  EXPECT_GT(seen, 100U) << "the writers must have written something";
  // And it still works: everything can be completed.
  const auto cache = OpenCache(path);
  for (const Bytes& content : contents) {
    const auto object = OpenObject(*cache, IdOf(content));
    if (content.size() < 16 * kPage) {
      ASSERT_TRUE(object->Write(0, content).has_value());
    } else {
      for (size_t offset = 0; offset < content.size(); offset += kPage) {
        const size_t size = std::min(kPage, content.size() - offset);
        ASSERT_TRUE(object->Write(offset, Part(content, offset, size)).has_value());
      }
    }
    EXPECT_TRUE(object->whole());
    EXPECT_EQ(content, ReadRange(*object, 0, content.size()));
  }
}

TEST(CacheCrashTest, TemporaryFilesOfTheDeadAreRemovedWhenTheyAreOld) {
  const TemporaryDirectory directory;
  const std::string path = directory / "cache";
  OpenCache(path);
  for (const char* name : {"old", "young"}) {
    ASSERT_TRUE(WriteFileAtomically(path + "/tmp/" + name, AsBytes("x")).has_value());
  }
  const struct timespec long_ago[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  ASSERT_EQ(0, ::utimensat(AT_FDCWD, (path + "/tmp/old").c_str(), long_ago, 0));
  OpenCache(path);
  EXPECT_FALSE(std::filesystem::exists(path + "/tmp/old"));
  EXPECT_TRUE(std::filesystem::exists(path + "/tmp/young"));
}

// A write beyond the limit on file sizes fails as a full disk would, at any point that is chosen.
TEST(CacheCrashTest, AWriteThatTheDiskRefusesIsAnErrorAndLeavesTheRestRight) {
  const TemporaryDirectory directory;
  const std::string path = directory / "cache";
  const std::vector<Bytes> contents = AllContents();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const auto cache = OpenCache(path);
    // The note that the cache is being written to is made while the disk still takes it.
    static_cast<void>(cache->WriteDocument("first", {}));
    int failures = 0;
    for (rlim_t limit = 0; limit < 110 * kPage; limit += 3 * kPage / 2) {
      const struct rlimit file_size{limit, RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &file_size);
      for (const Bytes& content : contents) {
        const auto object = OpenObject(*cache, IdOf(content));
        const size_t half = content.size() / 2 / kPage * kPage;
        if (!object->Write(half, Part(content, half, content.size() - half)).has_value())
          ++failures;
        if (!object->Write(0, Part(content, 0, kPage)).has_value()) ++failures;
      }
    }
    ::_exit(failures > 10 ? 0 : 1);
  }
  int state = 0;
  ASSERT_EQ(child, ::waitpid(child, &state, 0));
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0) << state;
  const auto cache = OpenCache(path);
  EXPECT_GT(VerifyMarkedPages(*cache, contents), 0U);
}

}  // namespace
}  // namespace layerfs

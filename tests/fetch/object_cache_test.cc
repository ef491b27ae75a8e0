// SPDX-License-Identifier: Apache-2.0
#include "fetch/object_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/fetch/cache_testing.h"

namespace layerfs {
namespace {

constexpr size_t kPage = kCachePageBytes;

// How many descriptors of this process are files below the directory.
size_t OpenBelow(const std::string& directory) {
  size_t open = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code closed;
    const auto target = std::filesystem::read_symlink(entry.path(), closed);
    open += target.string().starts_with(directory + "/") ? 1 : 0;
  }
  return open;
}

TEST_F(ObjectCacheTest, NewObjectHoldsNothingAndMakesNoFile) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(3 * kPage, 1);
  const auto object = OpenObject(*cache, IdOf(content));
  EXPECT_FALSE(object->whole());
  EXPECT_FALSE(object->Contains(0, 1));
  EXPECT_EQ(-1, object->fd());
  EXPECT_FALSE(std::filesystem::exists(Partial(object->id())));
}

TEST_F(ObjectCacheTest, WrittenPagesAreContainedAndOthersAreNot) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(200 * kPage + 17, 1);
  const auto object = OpenObject(*cache, IdOf(content));
  ASSERT_TRUE(object->Write(64 * kPage, Part(content, 64 * kPage, 70 * kPage)).has_value());
  EXPECT_TRUE(object->Contains(64 * kPage, 70 * kPage));
  EXPECT_TRUE(object->Contains(64 * kPage + 5, 1));
  EXPECT_FALSE(object->Contains(64 * kPage - 1, 2));
  EXPECT_FALSE(object->Contains(133 * kPage, kPage + 1));
  EXPECT_EQ(ReadRange(*object, 65 * kPage + 3, 5000),
            Bytes(content.begin() + 65 * kPage + 3, content.begin() + 65 * kPage + 5003));
  Bytes out(10);
  EXPECT_EQ(ErrorCode::kNotFound, object->Read(0, out).error().code);
  EXPECT_FALSE(object->Contains(content.size(), 1));
  EXPECT_FALSE(object->Contains(~uint64_t{0}, 2));
}

TEST_F(ObjectCacheTest, TheLastPageMakesTheObjectAPlainReadOnlyFile) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(5 * kPage + 100, 2);
  const auto object = OpenObject(*cache, IdOf(content));
  ASSERT_TRUE(object->Write(2 * kPage, Part(content, 2 * kPage, 3 * kPage + 100)).has_value());
  EXPECT_FALSE(object->whole());
  const int fd = object->fd();
  ASSERT_TRUE(object->Write(0, Part(content, 0, 2 * kPage)).has_value());
  EXPECT_TRUE(object->whole());
  EXPECT_EQ(fd, object->fd());
  EXPECT_EQ(content, ReadRange(*object, 0, content.size()));
  EXPECT_EQ(content, ReadFile(Whole(object->id()), 1 << 20).value_or(Bytes{}));
  struct stat attributes;
  ASSERT_EQ(0, ::stat(Whole(object->id()).c_str(), &attributes));
  EXPECT_EQ(0444U, attributes.st_mode & 07777U);
  EXPECT_FALSE(std::filesystem::exists(Partial(object->id())));
}

TEST_F(ObjectCacheTest, ContentWrittenAtOnceIsWholeWithoutAPartialFile) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(70'001, 3);
  {
    const auto object = OpenObject(*cache, IdOf(content));
    ASSERT_TRUE(object->Write(0, content).has_value());
    EXPECT_TRUE(object->whole());
    EXPECT_GE(object->fd(), 0);
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "cache/partial/" +
                                       IdOf(content).digest.Hex().substr(0, 2)));
  const auto again = cache->FindWhole(IdOf(content));
  ASSERT_NE(nullptr, again);
  EXPECT_EQ(content, ReadRange(*again, 0, content.size()));
}

TEST_F(ObjectCacheTest, EmptyObjectIsWholeAtOnce) {
  const auto cache = OpenCache(CachePath());
  const auto object = OpenObject(*cache, IdOf({}));
  EXPECT_TRUE(object->whole());
  EXPECT_TRUE(object->Contains(0, 0));
  EXPECT_GE(object->fd(), 0);
}

TEST_F(ObjectCacheTest, WritesThatAreNotOfWholePagesAreRefused) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(3 * kPage, 4);
  const auto object = OpenObject(*cache, IdOf(content));
  struct Row {
    const char* name;
    uint64_t offset;
    size_t size;
  };
  for (const Row& row : {Row{"unaligned start", 1, kPage}, Row{"unaligned end", 0, kPage + 1},
                         Row{"past the end", 2 * kPage, 2 * kPage},
                         Row{"far past the end", uint64_t{1} << 63, kPage}}) {
    const Status written = object->Write(row.offset, Bytes(row.size));
    ASSERT_FALSE(written.has_value()) << row.name;
    EXPECT_EQ(ErrorCode::kInvalidArgument, written.error().code) << row.name;
  }
  EXPECT_FALSE(std::filesystem::exists(Partial(object->id())));
}

TEST_F(ObjectCacheTest, WholeContentThatIsNotItsDigestIsRefused) {
  const auto cache = OpenCache(CachePath());
  const ObjectId id = IdOf(PatternBytes(3 * kPage, 5));
  const auto object = OpenObject(*cache, id);
  const Status written = object->Write(0, PatternBytes(3 * kPage, 6));
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(ErrorCode::kDigestMismatch, written.error().code);
  EXPECT_EQ(nullptr, cache->FindWhole(id));
}

TEST_F(ObjectCacheTest, PagesThatDoNotMakeUpTheContentNeverBecomeWhole) {
  const auto cache = OpenCache(CachePath());
  const ObjectId id = IdOf(PatternBytes(2 * kPage, 5));
  {
    const auto object = OpenObject(*cache, id);
    ASSERT_TRUE(object->Write(0, PatternBytes(kPage, 7)).has_value());
    const Status written = object->Write(kPage, PatternBytes(kPage, 8));
    ASSERT_FALSE(written.has_value());
    EXPECT_EQ(ErrorCode::kDigestMismatch, written.error().code);
  }
  EXPECT_EQ(nullptr, cache->FindWhole(id));
  EXPECT_FALSE(std::filesystem::exists(Partial(id)));
}

TEST_F(ObjectCacheTest, PartialObjectsOfOneScopeAreHiddenFromAnother) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(4 * kPage, 9);
  ObjectId mine = IdOf(content);
  mine.scope = Digest::Of(AsBytes("my tree"));
  ObjectId other = IdOf(content);
  other.scope = Digest::Of(AsBytes("another tree"));
  const auto object = OpenObject(*cache, mine);
  ASSERT_TRUE(object->Write(0, Part(content, 0, kPage)).has_value());
  EXPECT_FALSE(OpenObject(*cache, other)->Contains(0, kPage));
  ASSERT_TRUE(object->Write(kPage, Part(content, kPage, 3 * kPage)).has_value());
  EXPECT_TRUE(OpenObject(*cache, other)->whole());
}

TEST_F(ObjectCacheTest, LargeObjectBecomesWholeWhenItIsFinished) {
  const Bytes content = PatternBytes(kFinishAtOnceBytes + kPage, 44);
  {
    const auto cache = OpenCache(CachePath());
    const auto object = OpenObject(*cache, IdOf(content));
    ASSERT_TRUE(object->Write(kPage, Part(content, kPage, kFinishAtOnceBytes)).has_value());
    EXPECT_FALSE(object->TakeUnfinished());
    EXPECT_TRUE(object->Finish().has_value()) << "not all of it is there";
    EXPECT_FALSE(object->whole());
    ASSERT_TRUE(object->Write(0, Part(content, 0, kPage)).has_value());
    EXPECT_TRUE(object->Contains(0, content.size()));
    EXPECT_FALSE(object->whole());
    EXPECT_TRUE(object->TakeUnfinished());
    EXPECT_FALSE(object->TakeUnfinished()) << "for one caller";
  }
  // As if it had been killed there.
  const auto cache = OpenCache(CachePath());
  const auto object = OpenObject(*cache, IdOf(content));
  EXPECT_TRUE(object->TakeUnfinished());
  EXPECT_TRUE(object->Finish().has_value());
  EXPECT_TRUE(object->whole());
  EXPECT_EQ(content, ReadFile(Whole(object->id()), 16 << 20).value_or(Bytes{}));
}

TEST_F(ObjectCacheTest, LargeObjectThatIsNotItsDigestIsDroppedWhenItIsFinished) {
  const auto cache = OpenCache(CachePath());
  const ObjectId id = IdOf(PatternBytes(kFinishAtOnceBytes + kPage, 45));
  const auto object = OpenObject(*cache, id);
  ASSERT_TRUE(object->Write(0, PatternBytes(kFinishAtOnceBytes, 46)).has_value());
  ASSERT_TRUE(object->Write(kFinishAtOnceBytes, PatternBytes(kPage, 47)).has_value());
  EXPECT_EQ(ErrorCode::kDigestMismatch, object->Finish().error().code);
  EXPECT_FALSE(object->whole());
  EXPECT_FALSE(std::filesystem::exists(Partial(id)));
}

TEST_F(ObjectCacheTest, KeepsAnEighthOfTheDescriptorsOpen) {
  constexpr rlim_t kDescriptors = 128;
  rlimit before{};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_NOFILE, &before));
  const rlimit few{kDescriptors, before.rlim_max};
  ASSERT_EQ(0, ::setrlimit(RLIMIT_NOFILE, &few));
  const auto cache = OpenCache(CachePath());
  ::setrlimit(RLIMIT_NOFILE, &before);
  std::vector<ObjectId> ids;
  for (uint64_t i = 0; i < 2 * kDescriptors; ++i) {
    const Bytes content = PatternBytes(kPage, 700 + i);
    ids.push_back(IdOf(content));
    ASSERT_TRUE(cache->OpenKept(ids.back()).value()->WriteWhole(content).has_value());
  }
  EXPECT_EQ(kDescriptors / 8, OpenBelow(CachePath() + "/objects"));
  EXPECT_TRUE(cache->OpenKept(ids.front()).value()->whole()) << "it is opened anew";
  EXPECT_EQ(kDescriptors / 8, OpenBelow(CachePath() + "/objects"));
  cache->CloseKept();
  EXPECT_EQ(0U, OpenBelow(CachePath() + "/objects"));
}

TEST_F(ObjectCacheTest, HandlesOfOneProcessShareOneDescriptor) {
  const auto cache = OpenCache(CachePath());
  const Bytes content = PatternBytes(4 * kPage, 10);
  const auto one = OpenObject(*cache, IdOf(content));
  const auto two = OpenObject(*cache, IdOf(content));
  EXPECT_EQ(one, two);
}

TEST_F(ObjectCacheTest, AnotherProcessSeesPagesAsTheyCome) {
  const auto here = OpenCache(CachePath());
  const auto there = OpenCache(CachePath());  // Its own descriptors: as good as another process.
  const Bytes content = PatternBytes(100 * kPage, 11);
  const auto writer = OpenObject(*here, IdOf(content));
  const auto reader = OpenObject(*there, IdOf(content));
  ASSERT_TRUE(writer->Write(0, Part(content, 0, 10 * kPage)).has_value());
  EXPECT_TRUE(reader->Contains(0, 10 * kPage));
  EXPECT_FALSE(reader->Contains(10 * kPage, kPage));
  ASSERT_TRUE(writer->Write(50 * kPage, Part(content, 50 * kPage, 50 * kPage)).has_value());
  EXPECT_TRUE(reader->Contains(60 * kPage, kPage));
  ASSERT_TRUE(reader->Write(10 * kPage, Part(content, 10 * kPage, 40 * kPage)).has_value());
  EXPECT_TRUE(reader->whole());
  EXPECT_TRUE(writer->Contains(0, content.size()));
  EXPECT_TRUE(writer->whole());
  EXPECT_EQ(content, ReadRange(*writer, 0, content.size()));
  EXPECT_EQ(content.size(), std::filesystem::file_size(Whole(IdOf(content))));
}

TEST_F(ObjectCacheTest, ManyWritersOfOneObjectCompleteItOnce) {
  const auto here = OpenCache(CachePath());
  const auto there = OpenCache(CachePath());
  constexpr size_t kPages = 256;
  const Bytes content = PatternBytes(kPages * kPage, 12);
  const auto write_all = [&](ObjectCache& cache, size_t start) {
    const auto object = OpenObject(cache, IdOf(content));
    for (size_t i = 0; i < kPages; ++i) {
      const size_t page = (start + i) % kPages;
      EXPECT_TRUE(object->Write(page * kPage, Part(content, page * kPage, kPage)).has_value());
    }
    EXPECT_TRUE(object->Contains(0, content.size()));
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] { write_all(i % 2 == 0 ? *here : *there, i * 61); });
    }
  }
  EXPECT_EQ(content, ReadFile(Whole(IdOf(content)), content.size()).value_or(Bytes{}));
}

TEST_F(ObjectCacheTest, ClaimsExcludeOtherProcessesAndEndWithThem) {
  const auto here = OpenCache(CachePath());
  const Bytes content = PatternBytes(100 * kPage, 13);
  const auto object = OpenObject(*here, IdOf(content));
  int ready[2];
  int release[2];
  ASSERT_EQ(0, ::pipe(ready));
  ASSERT_EQ(0, ::pipe(release));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto cache = OpenCache(CachePath());
    const bool claimed = OpenObject(*cache, IdOf(content))->TryClaim(8 * kPage, 8 * kPage);
    const char answer = claimed ? 'y' : 'n';
    static_cast<void>(!::write(ready[1], &answer, 1));
    char unused;
    static_cast<void>(!::read(release[0], &unused, 1));
    ::_exit(0);
  }
  char answer = 0;
  ASSERT_EQ(1, ::read(ready[0], &answer, 1));
  EXPECT_EQ('y', answer);
  EXPECT_FALSE(object->TryClaim(10 * kPage, kPage));
  EXPECT_FALSE(object->TryClaim(0, 9 * kPage));
  EXPECT_TRUE(object->TryClaim(0, 8 * kPage));
  EXPECT_FALSE(object->TryClaim(0, kPage)) << "this process has claimed it already";
  ::kill(child, SIGKILL);
  ASSERT_EQ(child, ::waitpid(child, nullptr, 0));
  EXPECT_TRUE(object->TryClaim(10 * kPage, kPage));
  object->Unclaim(0, 8 * kPage);
  EXPECT_TRUE(object->TryClaim(0, kPage));
  for (const int fd : {ready[0], ready[1], release[0], release[1]}) ::close(fd);
}

TEST_F(ObjectCacheTest, ReadOnlyCacheReadsAndRefusesWrites) {
  const Bytes content = PatternBytes(10 * kPage, 40);
  const Bytes part = PatternBytes(10 * kPage, 41);
  {
    const auto cache = OpenCache(CachePath());
    ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, content).has_value());
    ASSERT_TRUE(OpenObject(*cache, IdOf(part))->Write(0, Part(part, 0, kPage)).has_value());
    ASSERT_TRUE(cache->WriteDocument("tags/a", AsBytes("b")).has_value());
  }
  const auto opened =
      ObjectCache::Open({.directory = CachePath(), .limit_bytes = 0, .read_only = true});
  ASSERT_TRUE(opened.has_value()) << opened.error().context;
  ObjectCache& cache = **opened;
  EXPECT_FALSE(cache.keeps());
  EXPECT_EQ(content, ReadRange(*OpenObject(cache, IdOf(content)), 0, content.size()));
  const auto partial = OpenObject(cache, IdOf(part));
  EXPECT_TRUE(partial->Contains(0, kPage));
  EXPECT_TRUE(partial->TryClaim(kPage, kPage)) << "nobody to ask";
  EXPECT_EQ(ErrorCode::kPermission, partial->Write(kPage, Part(part, kPage, kPage)).error().code);
  EXPECT_EQ(ErrorCode::kPermission, cache.WriteDocument("tags/b", {}).error().code);
  EXPECT_EQ("b", AsText(cache.ReadDocument("tags/a", 10).value_or(Bytes{})));
}

TEST_F(ObjectCacheTest, DocumentsAreReplacedWholeAndFoundByName) {
  const auto cache = OpenCache(CachePath());
  EXPECT_EQ(ErrorCode::kNotFound, cache->ReadDocument("trees/x", 10).error().code);
  ASSERT_TRUE(cache->WriteDocument("trees/x", AsBytes("first")).has_value());
  ASSERT_TRUE(cache->WriteDocument("trees/x", AsBytes("second")).has_value());
  EXPECT_EQ("second", AsText(cache->ReadDocument("trees/x", 10).value_or(Bytes{})));
  EXPECT_EQ(ErrorCode::kTooLarge, cache->ReadDocument("trees/x", 3).error().code);
  EXPECT_EQ("second", AsText(cache->MapDocument("trees/x").value_or(MappedFile{}).bytes()));
  EXPECT_EQ(1U, cache->Statistics().value_or(CacheStatistics{}).documents);
  for (const char* name : {"", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a/"}) {
    EXPECT_EQ(ErrorCode::kInvalidArgument, cache->WriteDocument(name, {}).error().code) << name;
    EXPECT_EQ(ErrorCode::kInvalidArgument, cache->ReadDocument(name, 1).error().code) << name;
  }
}

struct ForeignDirectory {
  const char* name;
  ErrorCode code;
  const char* says;
  std::function<void(const std::string& path)> make;
};

class ForeignDirectoryTest : public testing::TestWithParam<ForeignDirectory> {};

TEST_P(ForeignDirectoryTest, IsRefusedWithTheRemedy) {
  const TemporaryDirectory directory;
  const std::string path = directory / "cache";
  GetParam().make(path);
  const auto cache = ObjectCache::Open({.directory = path, .limit_bytes = 0, .read_only = false});
  ASSERT_FALSE(cache.has_value());
  EXPECT_EQ(GetParam().code, cache.error().code) << cache.error().context;
  EXPECT_NE(std::string::npos, cache.error().context.find(GetParam().says))
      << cache.error().context;
  EXPECT_NE(std::string::npos, cache.error().context.find(path));
}

INSTANTIATE_TEST_SUITE_P(
    All, ForeignDirectoryTest,
    testing::Values(ForeignDirectory{"OtherVersion", ErrorCode::kUnsupported, "layerfs cache 99",
                                     [](const std::string& path) {
                                       std::filesystem::create_directories(path);
                                       std::ofstream(path + "/version") << "layerfs cache 99\n";
                                     }},
                    ForeignDirectory{"SomethingElse", ErrorCode::kInvalidArgument, "not a cache",
                                     [](const std::string& path) {
                                       std::filesystem::create_directories(path);
                                       std::ofstream(path + "/thesis.tex") << "x";
                                     }},
                    ForeignDirectory{"AFile", ErrorCode::kInvalidArgument,
                                     "Not a directory; name another one with --cache",
                                     [](const std::string& path) { std::ofstream(path) << "x"; }},
                    ForeignDirectory{"WritableByAll", ErrorCode::kPermission, "chmod go-w",
                                     [](const std::string& path) {
                                       std::filesystem::create_directories(path);
                                       ::chmod(path.c_str(), 0777);
                                     }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(ObjectCacheTest, DirectoryInWhichOnlyAConversionLeftItsMemoBecomesACache) {
  std::filesystem::create_directories(CachePath());
  std::ofstream(CachePath() + "/converted-layers.json") << "{}";
  const auto cache =
      ObjectCache::Open({.directory = CachePath(), .limit_bytes = 0, .read_only = false});
  EXPECT_TRUE(cache.has_value()) << cache.error().context;
}

TEST_F(ObjectCacheTest, DirectoryOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give a directory away";
  OpenCache(CachePath());
  ASSERT_EQ(0, ::chown(CachePath().c_str(), 1234, 1234));
  const auto cache =
      ObjectCache::Open({.directory = CachePath(), .limit_bytes = 0, .read_only = false});
  ASSERT_FALSE(cache.has_value());
  EXPECT_EQ(ErrorCode::kPermission, cache.error().code);
  EXPECT_NE(std::string::npos, cache.error().context.find("user 1234"));
}

TEST_F(ObjectCacheTest, TornWholeFileIsDroppedAndFetchedAgain) {
  const Bytes content = PatternBytes(10 * kPage, 50);
  {
    const auto cache = OpenCache(CachePath());
    ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, content).has_value());
  }
  ASSERT_EQ(0, ::truncate(Whole(IdOf(content)).c_str(), 5 * kPage));
  const auto cache = OpenCache(CachePath());
  const auto object = OpenObject(*cache, IdOf(content));
  EXPECT_FALSE(object->whole());
  ASSERT_TRUE(object->Write(0, content).has_value());
  EXPECT_EQ(content, ReadRange(*object, 0, content.size()));
}

TEST_F(ObjectCacheTest, PartialObjectsAndDocumentsDoNotOutliveACrashOfTheMachine) {
  const Bytes content = PatternBytes(10 * kPage, 51);
  {
    const auto cache = OpenCache(CachePath());
    ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, Part(content, 0, kPage)).has_value());
    ASSERT_TRUE(cache->WriteDocument("a", AsBytes("b")).has_value());
  }
  PretendCrashOfTheMachine(CachePath());
  const auto cache = OpenCache(CachePath());
  const auto object = OpenObject(*cache, IdOf(content));
  EXPECT_FALSE(object->Contains(0, kPage));
  EXPECT_EQ(ErrorCode::kNotFound, cache->ReadDocument("a", 10).error().code);
  ASSERT_TRUE(object->Write(0, Part(content, 0, kPage)).has_value());
  ASSERT_TRUE(cache->WriteDocument("a", AsBytes("c")).has_value());
  EXPECT_TRUE(OpenObject(*OpenCache(CachePath()), IdOf(content))->Contains(0, kPage));
  EXPECT_EQ("c", AsText(cache->ReadDocument("a", 10).value_or(Bytes{})));
}

// The clock was ahead, and is right since the crash.
TEST_F(ObjectCacheTest, WhatIsDatedInTheFutureIsOfBeforeTheCrashToo) {
  const Bytes part = PatternBytes(10 * kPage, 53);
  const Bytes whole = PatternBytes(3 * kPage, 54);
  {
    const auto cache = OpenCache(CachePath());
    ASSERT_TRUE(OpenObject(*cache, IdOf(part))->Write(0, Part(part, 0, kPage)).has_value());
    ASSERT_TRUE(OpenObject(*cache, IdOf(whole))->Write(0, whole).has_value());
  }
  const time_t tomorrow = ::time(nullptr) + 86'400;
  std::fstream(Whole(IdOf(whole)), std::ios::in | std::ios::out | std::ios::binary) << "torn";
  SetTimes(Partial(IdOf(part)), tomorrow);
  SetTimes(Whole(IdOf(whole)), tomorrow);
  PretendCrashOfTheMachine(CachePath());
  const auto cache = OpenCache(CachePath());
  EXPECT_FALSE(OpenObject(*cache, IdOf(part))->Contains(0, kPage));
  EXPECT_FALSE(OpenObject(*cache, IdOf(whole))->whole());
}

TEST_F(ObjectCacheTest, PartialObjectsOutliveACleanReboot) {
  const Bytes content = PatternBytes(10 * kPage, 52);
  {
    const auto cache = OpenCache(CachePath());
    ASSERT_TRUE(OpenObject(*cache, IdOf(content))->Write(0, Part(content, 0, kPage)).has_value());
  }
  std::string boot;
  std::ifstream(CachePath() + "/boot") >> boot;
  ASSERT_FALSE(boot.empty());
  std::string text(AsText(ReadFile(CachePath() + "/boot", 4096).value_or(Bytes{})));
  EXPECT_NE(std::string::npos, text.find(" clean ")) << text;
  std::ofstream(CachePath() + "/boot") << "another-boot" << text.substr(text.find(' '));
  EXPECT_TRUE(OpenObject(*OpenCache(CachePath()), IdOf(content))->Contains(0, kPage));
}

TEST_F(ObjectCacheTest, PartialFileOfAnotherShapeIsReplaced) {
  const Bytes content = PatternBytes(10 * kPage, 53);
  const auto cache = OpenCache(CachePath());
  for (const size_t size : {size_t{1}, 3 * kPage, 10 * kPage + 72, 11 * kPage}) {
    std::filesystem::create_directories(
        std::filesystem::path(Partial(IdOf(content))).parent_path());
    std::ofstream(Partial(IdOf(content))) << std::string(size, 'x');
    const auto object = OpenObject(*cache, IdOf(content));
    EXPECT_FALSE(object->Contains(0, kPage)) << size;
    ASSERT_TRUE(object->Write(0, Part(content, 0, kPage)).has_value()) << size;
    EXPECT_TRUE(object->Contains(0, kPage)) << size;
    EXPECT_FALSE(object->Contains(kPage, kPage)) << size;
    std::filesystem::remove(Partial(IdOf(content)));
  }
}

TEST_F(ObjectCacheTest, AbsurdObjectSizeIsRefusedBeforeAnythingIsMade) {
  const auto cache = OpenCache(CachePath());
  const auto object = cache->OpenObject({Digest::Of({}), uint64_t{1} << 62, {}});
  ASSERT_FALSE(object.has_value());
  EXPECT_EQ(ErrorCode::kTooLarge, object.error().code);
}

}  // namespace
}  // namespace layerfs

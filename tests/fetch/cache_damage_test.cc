// SPDX-License-Identifier: Apache-2.0
// What is no file where the cache has its files: nobody waits for it, and it does not stay. And a
// disk that turns out to take no writes.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "fetch/object_cache.h"
#include "tests/fetch/cache_testing.h"

namespace layerfs {
namespace {

constexpr size_t kPage = kCachePageBytes;

enum class Kind { kFifo, kDirectory, kFullDirectory, kLink, kLinkToFile, kLoop, kSocket };

struct InTheWay {
  const char* name;
  Kind kind;
};
std::ostream& operator<<(std::ostream& out, const InTheWay& row) { return out << row.name; }

class CacheDamageTest : public ObjectCacheTest, public testing::WithParamInterface<InTheWay> {
 protected:
  void PutInTheWay(const std::string& path) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    switch (GetParam().kind) {
      case Kind::kFifo:
        ASSERT_EQ(0, ::mkfifo(path.c_str(), 0600));
        break;
      case Kind::kDirectory:
        ASSERT_EQ(0, ::mkdir(path.c_str(), 0700));
        break;
      case Kind::kFullDirectory:
        std::filesystem::create_directories(path + "/more");
        std::ofstream(path + "/more/file") << "somebody's";
        break;
      case Kind::kLink:
        ASSERT_EQ(0, ::symlink("nowhere", path.c_str()));
        break;
      case Kind::kLinkToFile:
        std::ofstream(Elsewhere()) << "somebody's";
        ASSERT_EQ(0, ::symlink(Elsewhere().c_str(), path.c_str()));
        break;
      case Kind::kLoop:
        ASSERT_EQ(0, ::symlink(path.c_str(), path.c_str()));
        break;
      case Kind::kSocket:
        ASSERT_EQ(0, ::mknod(path.c_str(), S_IFSOCK | 0600, 0));
        break;
    }
  }
  std::string Elsewhere() const { return directory_ / "elsewhere"; }
  void ExpectElsewhereIsAsItWas() const {
    if (GetParam().kind != Kind::kLinkToFile) return;
    EXPECT_EQ("somebody's", Text(Elsewhere()));
  }
  static std::string Text(const std::string& path) {
    return std::string(AsText(ReadFile(path, 1 << 20).value_or(Bytes{})));
  }
  std::string Said(bool read_only = false) const {
    const auto cache = ObjectCache::Open({.directory = CachePath(), .read_only = read_only});
    return cache.has_value() ? "" : cache.error().context;
  }
  static bool IsFile(const std::string& path) {
    return std::filesystem::is_regular_file(std::filesystem::symlink_status(path));
  }

  const Bytes content_ = PatternBytes(3 * kPage, 1);
  const ObjectId id_ = IdOf(content_);
};

TEST_P(CacheDamageTest, ObjectIsFetchedAndKeptAgain) {
  for (const std::string& path : {Whole(id_), Partial(id_)}) {
    OpenCache(CachePath()).reset();
    PutInTheWay(path);
    const auto cache = OpenCache(CachePath());
    const auto object = OpenObject(*cache, id_);
    ASSERT_NE(nullptr, object);
    EXPECT_FALSE(object->Contains(0, 1));
    ASSERT_TRUE(object->Write(0, Part(content_, 0, kPage)).has_value());
    ASSERT_TRUE(object->Write(kPage, Part(content_, kPage, 2 * kPage)).has_value());
    EXPECT_TRUE(object->whole());
    EXPECT_EQ(content_, ReadRange(*object, 0, content_.size()));
    EXPECT_TRUE(IsFile(Whole(id_)));
    ExpectElsewhereIsAsItWas();
    std::filesystem::remove_all(CachePath());
  }
}

TEST_P(CacheDamageTest, ObjectThatComesAtOnceTakesItsName) {
  const auto cache = OpenCache(CachePath());
  const auto object = OpenObject(*cache, id_);
  PutInTheWay(Whole(id_));
  ASSERT_TRUE(object->WriteWhole(content_).has_value());
  EXPECT_EQ(content_, ReadRange(*object, 0, content_.size()));
  EXPECT_TRUE(IsFile(Whole(id_)));
  ExpectElsewhereIsAsItWas();
}

TEST_P(CacheDamageTest, DirectoryOfObjectsIsMadeAnew) {
  OpenCache(CachePath()).reset();
  for (const std::string& path : {Whole(id_), Partial(id_)}) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    // A directory is what belongs there.
    if (GetParam().kind != Kind::kDirectory && GetParam().kind != Kind::kFullDirectory) {
      PutInTheWay(parent);
    }
  }
  const auto cache = OpenCache(CachePath());
  const auto object = OpenObject(*cache, id_);
  ASSERT_NE(nullptr, object);
  ASSERT_TRUE(object->Write(0, Part(content_, 0, kPage)).has_value());
  ASSERT_TRUE(object->Write(kPage, Part(content_, kPage, 2 * kPage)).has_value());
  EXPECT_TRUE(IsFile(Whole(id_)));
  ExpectElsewhereIsAsItWas();
}

TEST_P(CacheDamageTest, DocumentIsWrittenAgain) {
  const auto cache = OpenCache(CachePath());
  PutInTheWay(cache->DocumentPath("tags/one"));
  const auto read = cache->ReadDocument("tags/one", 100);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(ErrorCode::kNotFound, read.error().code) << read.error().context;
  PutInTheWay(cache->DocumentPath("tags/one"));
  ASSERT_TRUE(cache->WriteDocument("tags/one", AsBytes("text")).has_value());
  EXPECT_EQ("text", Text(cache->DocumentPath("tags/one")));
  ExpectElsewhereIsAsItWas();
}

TEST_P(CacheDamageTest, FilesOfTheCacheItselfAreMadeAnew) {
  OpenCache(CachePath()).reset();
  for (const char* const name : {"boot", "usage", "chunks"}) {
    PutInTheWay(CachePath() + "/" + name);
  }
  const std::string pin = CachePath() + "/pins/" + Digest::Of(AsBytes("pin")).Hex();
  PutInTheWay(pin);
  {
    const auto cache = OpenCache(CachePath(), 1 << 20);
    const auto object = OpenObject(*cache, id_);
    ASSERT_TRUE(object->WriteWhole(content_).has_value());
    object->NoteChunk(id_.digest, 0, id_.size);
    EXPECT_TRUE(cache->Pins().has_value());
    EXPECT_TRUE(cache->Prune(1 << 20).has_value());
  }
  for (const char* const name : {"boot", "usage", "chunks"}) {
    EXPECT_TRUE(IsFile(CachePath() + "/" + name)) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(pin)));
  ExpectElsewhereIsAsItWas();
}

TEST_P(CacheDamageTest, WhatSaysThatItIsACacheIsNamedWithTheRemedy) {
  for (const std::string name : {"version", "lock"}) {
    OpenCache(CachePath()).reset();
    PutInTheWay(CachePath() + "/" + name);
    EXPECT_NE(std::string::npos, Said().find(name + ": it is not a file; remove it")) << Said();
    std::filesystem::remove_all(CachePath());
  }
}

TEST_P(CacheDamageTest, DirectoryOfAllObjectsIsNamedWithTheRemedy) {
  if (GetParam().kind == Kind::kDirectory || GetParam().kind == Kind::kFullDirectory) return;
  for (const std::string name : {"objects", "partial", "documents", "tmp"}) {
    OpenCache(CachePath()).reset();
    PutInTheWay(CachePath() + "/" + name);
    EXPECT_NE(std::string::npos, Said().find(name + ": it is not a directory; remove it"))
        << Said();
    std::filesystem::remove_all(CachePath());
  }
}

TEST_P(CacheDamageTest, ReadOnlyCacheDoesWithoutAndChangesNothing) {
  OpenCache(CachePath()).reset();
  PutInTheWay(Whole(id_));
  PutInTheWay(Partial(id_));
  PutInTheWay(CachePath() + "/boot");
  const auto before = std::filesystem::symlink_status(Whole(id_)).type();
  const auto cache = ObjectCache::Open({.directory = CachePath(), .read_only = true});
  ASSERT_TRUE(cache.has_value()) << cache.error().context;
  const auto object = OpenObject(**cache, id_);
  ASSERT_NE(nullptr, object);
  EXPECT_FALSE(object->Contains(0, 1));
  EXPECT_EQ(before, std::filesystem::symlink_status(Whole(id_)).type());
  PutInTheWay(CachePath() + "/version");
  EXPECT_NE(std::string::npos, Said(true).find("version: it is not a file")) << Said(true);
}

INSTANTIATE_TEST_SUITE_P(
    Table, CacheDamageTest,
    testing::Values(InTheWay{"Fifo", Kind::kFifo}, InTheWay{"Directory", Kind::kDirectory},
                    InTheWay{"FullDirectory", Kind::kFullDirectory}, InTheWay{"Link", Kind::kLink},
                    InTheWay{"LinkToFile", Kind::kLinkToFile}, InTheWay{"Loop", Kind::kLoop},
                    InTheWay{"Socket", Kind::kSocket}),
    [](const auto& info) { return info.param.name; });

// As ext4 does once it has aborted: access(2) says that the directory can be written to, open(2)
// that it cannot.
TEST_F(ObjectCacheTest, ADiskThatTurnsOutReadOnlyIsRead) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to mount";
  const Bytes content = PatternBytes(kPage, 1);
  const ObjectId id = IdOf(content);
  ASSERT_TRUE(OpenObject(*OpenCache(CachePath()), id)->Write(0, content).has_value());
  const std::string lock = CachePath() + "/lock";
  ASSERT_EQ(0, ::unshare(CLONE_NEWNS));
  ASSERT_EQ(0, ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
  ASSERT_EQ(0, ::mount(lock.c_str(), lock.c_str(), nullptr, MS_BIND, nullptr));
  ASSERT_EQ(0, ::mount(nullptr, lock.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr));
  {
    const auto cache = OpenCache(CachePath());
    ASSERT_NE(nullptr, cache);
    EXPECT_TRUE(cache->read_only());
    EXPECT_EQ(content, ReadRange(*OpenObject(*cache, id), 0, content.size()));
  }
  EXPECT_EQ(0, ::umount(lock.c_str()));
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// What the tests of fetch share: a directory of their own and bytes that can be recognized.
// One thread at a time.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "fetch/object_cache.h"

namespace layerfs {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "layerfs-test-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// Bytes that differ everywhere and between seeds.
inline Bytes PatternBytes(size_t size, uint64_t seed) {
  Bytes bytes(size);
  uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (uint8_t& byte : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<uint8_t>(state >> 56);
  }
  return bytes;
}

inline ObjectId IdOf(const Bytes& content) { return {Digest::Of(content), content.size(), {}}; }

inline std::shared_ptr<ObjectCache> OpenCache(const std::string& directory,
                                              uint64_t limit_bytes = 0) {
  Result<std::shared_ptr<ObjectCache>> cache =
      ObjectCache::Open({.directory = directory, .limit_bytes = limit_bytes, .read_only = false});
  EXPECT_TRUE(cache.has_value()) << cache.error().context;
  return cache.value_or(nullptr);
}

inline std::shared_ptr<CachedObject> OpenObject(ObjectCache& cache, const ObjectId& id) {
  Result<std::shared_ptr<CachedObject>> object = cache.OpenObject(id);
  EXPECT_TRUE(object.has_value()) << object.error().context;
  return object.value_or(nullptr);
}

inline Bytes ReadRange(const CachedObject& object, uint64_t offset, size_t size) {
  Bytes bytes(size);
  const Status read = object.Read(offset, bytes);
  EXPECT_TRUE(read.has_value()) << read.error().context;
  return bytes;
}

inline ByteSpan Part(const Bytes& bytes, size_t offset, size_t size) {
  return ByteSpan(bytes).subspan(offset, size);
}

inline std::string HexPath(const TemporaryDirectory& directory, const char* kind,
                           const Digest& digest) {
  const std::string hex = digest.Hex();
  return directory / ("cache/" + std::string(kind) + "/" + hex.substr(0, 2) + "/" + hex);
}

class ObjectCacheTest : public testing::Test {
 protected:
  std::string Whole(const ObjectId& id) const { return HexPath(directory_, "objects", id.digest); }
  std::string Partial(const ObjectId& id) const {
    return HexPath(directory_, "partial", id.digest);
  }
  std::string CachePath() const { return directory_ / "cache"; }
  static void SetTimes(const std::string& path, time_t seconds) {
    const struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(0, ::utimensat(AT_FDCWD, path.c_str(), times, 0));
  }

  TemporaryDirectory directory_;
};

// As if the machine had gone down while the cache was in use.
inline void PretendCrashOfTheMachine(const std::string& cache_path) {
  std::ofstream(cache_path + "/boot") << "another-boot written 0\n";
}

}  // namespace layerfs

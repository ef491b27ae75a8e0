// SPDX-License-Identifier: Apache-2.0
// Programs of this machine in a converted image, of which only the beginning is read. Needs root,
// as the image does.
#include "fs/program_prefetch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "tests/fs/test_image.h"

namespace layerfs {
namespace {

// bash with what it is linked with, a script that calls it, and data that looks like neither.
constexpr char kPrograms[] = R"sh(
bash=$(command -v bash)
for file in $bash $(ldd $bash | grep -oE '/[^ ]+'); do
  real=$(realpath $file); mkdir -p .$(dirname $file) .$(dirname $real)
  cp $real .$real; [ $real = $file ] || ln -sf $real .$file
done
mkdir -p usr/bin app
ln -s $(ldd $bash | grep -oE '/[^ ]+/libc\.so[^ ]*') libc
[ $bash = /usr/bin/bash ] || cp $bash usr/bin/bash
printf '#!/usr/bin/bash\n# data\nexec "$@"\n' >app/start; chmod 755 app/start
head -c 3000000 /dev/urandom >app/data; chmod 755 app/data
head -c 3000000 /dev/urandom >app/plugin.so.1
head -c 12000000 /dev/urandom >app/large.so.1
)sh";

class ProgramPrefetchTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    auto made = TestImage::Make(kPrograms);
    ASSERT_TRUE(made.has_value()) << made.error().context;
    files_.emplace(std::move(*made));
    OpenImage(0);
  }

  void OpenImage(uint64_t cache_limit_bytes) {
    programs_.reset();
    reader_.reset();
    auto cache = ObjectCache::Open(
        {.directory = files_->directory() + "/cache-" + std::to_string(cache_limit_bytes),
         .limit_bytes = cache_limit_bytes});
    ASSERT_TRUE(cache.has_value()) << cache.error().context;
    context_.emplace(ImageContext{stores_, scheduler_, *cache});
    auto image =
        Image::Load(ImageReference::Parse(files_->reference()).value(), *context_, ImageOptions{});
    ASSERT_TRUE(image.has_value()) << image.error().context;
    image_ = *image;
    programs_.emplace(image_, *context_, R"({"config":{"Cmd":["bash"]}})",
                      std::chrono::milliseconds(10'000));
    reader_.emplace(image_, *context_, FileReader::Options{});
    reader_->SetOnWait(
        [this](InodeNumber file, uint64_t offset) { programs_->NoteWait(file, offset); });
  }

  InodeNumber Find(const std::string& path) {
    const auto found = ResolvePath(image_->tree(), path, true);
    EXPECT_TRUE(found.has_value()) << path;
    return found.value_or(kNoInode);
  }
  void ReadBeginning(const std::string& path) {
    ASSERT_TRUE(reader_->ReadAndWait(Find(path), 0, 4096).has_value()) << path;
  }
  bool IsWholeWithin(const std::string& path, std::chrono::milliseconds patience) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (reader_->WholeObject(Find(path)) == nullptr) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  static constexpr std::chrono::milliseconds kPatience{20'000};
  static constexpr uint64_t kLargeEndBytes = uint64_t{120} << 10;  // it cannot be compressed
  std::optional<TestImage> files_;
  ImageStores stores_{StoreOptions{}};
  Scheduler scheduler_{Scheduler::Options{}};
  std::optional<ImageContext> context_;
  std::shared_ptr<Image> image_;
  std::optional<ProgramPrefetch> programs_;
  std::optional<FileReader> reader_;
};

TEST_F(ProgramPrefetchTest, AProgramComesWholeAndWithItsLibraries) {
  ReadBeginning("/usr/bin/bash");
  EXPECT_TRUE(IsWholeWithin("/usr/bin/bash", kPatience));
  EXPECT_TRUE(IsWholeWithin("/libc", kPatience));
}

TEST_F(ProgramPrefetchTest, AScriptBringsItsInterpreter) {
  ReadBeginning("/app/start");
  EXPECT_TRUE(IsWholeWithin("/usr/bin/bash", kPatience));
  EXPECT_TRUE(IsWholeWithin("/libc", kPatience));
}

// Before anybody has read anything of it.
TEST_F(ProgramPrefetchTest, TheImagesCommandComesWhenItIsAboutToBeRun) {
  ReadBeginning("/app/data");  // and with it the chunk tables
  EXPECT_FALSE(IsWholeWithin("/usr/bin/bash", std::chrono::milliseconds(200)));
  programs_->Begin();
  EXPECT_TRUE(IsWholeWithin("/usr/bin/bash", kPatience));
  EXPECT_TRUE(IsWholeWithin("/libc", kPatience));
  EXPECT_FALSE(IsWholeWithin("/app/data", std::chrono::milliseconds(0)));
}

// Of a program that is too large to be fetched whole too.
TEST_F(ProgramPrefetchTest, WithAProgramsBeginningComesItsEnd) {
  const InodeNumber large = Find("/app/large.so.1");
  const uint64_t size = image_->tree().Get(large).size;
  ReadBeginning("/app/large.so.1");
  // Whoever looks for it would fetch it.
  const auto end = std::chrono::steady_clock::now() + kPatience;
  const auto ahead_bytes = [this] {
    return scheduler_.Statistics().class_bytes[static_cast<size_t>(FetchClass::kReadahead)];
  };
  for (uint64_t before = 0; before < kLargeEndBytes || before != ahead_bytes();) {
    ASSERT_LT(std::chrono::steady_clock::now(), end);
    before = ahead_bytes();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  std::atomic<bool> waited{true};
  FileReader other(image_, *context_, FileReader::Options{});
  other.AddObserver([&](const ReadReport& report) { waited = report.waited; });
  ASSERT_TRUE(other.ReadAndWait(large, 0, 4096).has_value());  // waits for its own chunk table
  ASSERT_TRUE(other.ReadAndWait(large, size - 4096, 4096).has_value());
  EXPECT_FALSE(waited);
}

// Somebody may wait for something else meanwhile.
TEST_F(ProgramPrefetchTest, WhatNobodyWaitsForIsNotDemand) {
  const auto demand_bytes = [this] {
    return scheduler_.Statistics().class_bytes[static_cast<size_t>(FetchClass::kDemand)];
  };
  ReadBeginning("/app/start");
  const uint64_t before = demand_bytes();
  EXPECT_TRUE(IsWholeWithin("/usr/bin/bash", kPatience));
  EXPECT_TRUE(IsWholeWithin("/libc", kPatience));
  EXPECT_EQ(demand_bytes(), before);
}

// It need not have come to be known for one.
TEST_F(ProgramPrefetchTest, WhatIsNamedAsALibraryComesWholeAtOnce) {
  ReadBeginning("/app/plugin.so.1");
  EXPECT_TRUE(IsWholeWithin("/app/plugin.so.1", kPatience));
}

TEST_F(ProgramPrefetchTest, DataIsLeftToItsReader) {
  ReadBeginning("/app/data");
  EXPECT_FALSE(IsWholeWithin("/app/data", std::chrono::milliseconds(500)));
  EXPECT_FALSE(IsWholeWithin("/usr/bin/bash", std::chrono::milliseconds(0)));
}

TEST_F(ProgramPrefetchTest, ReadsThatWaitedForNothingBringNothing) {
  // With a read of something else come the chunk tables, which the reader would wait for.
  ReadBeginning("/app/data");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  std::atomic<bool> waited{true};
  FileReader other(image_, *context_, FileReader::Options{});
  // Until it is in the cache, where it comes after the answer.
  other.AddObserver([&](const ReadReport& report) { waited = report.waited; });
  while (waited) ASSERT_TRUE(other.ReadAndWait(Find("/usr/bin/bash"), 0, 4096).has_value());
  ReadBeginning("/usr/bin/bash");
  EXPECT_FALSE(IsWholeWithin("/usr/bin/bash", std::chrono::milliseconds(300)));
}

TEST_F(ProgramPrefetchTest, WhereTheCacheKeepsNothingOnlyReadersFetch) {
  OpenImage(4096);
  ReadBeginning("/app/data");
  // The other layers' chunk tables come beside the first read, and are small enough to be kept.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  for (int i = 0; i < 20 && context_->cache->keeps(); ++i) {
    scheduler_.ForgetUnkept();
    for (const char* data : {"/app/data", "/dir/big"}) ReadBeginning(data);
  }
  ASSERT_FALSE(context_->cache->keeps());
  const uint64_t before = scheduler_.Statistics().requests;
  for (const char* program : {"/usr/bin/bash", "/app/start", "/libc"}) ReadBeginning(program);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LE(scheduler_.Statistics().requests - before, 3U);
}

TEST_F(ProgramPrefetchTest, EndsWhileProgramsAreOnTheirWay) {
  ReadBeginning("/app/start");
  reader_.reset();
  programs_.reset();
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Random stacks of layers with few names and many collisions: the merged tree must be what an
// extractor makes of them on a real directory. The image spec lets whiteouts stand anywhere in a
// layer; so several extractions run side by side, with the whiteouts where they are, first and
// last, and where those differ there is nothing to compare with.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/index/disk_extractor.h"
#include "tests/index/layer_stack.h"

namespace layerfs {
namespace {

namespace fs = std::filesystem;

constexpr int kSeeds = 1200;
constexpr int kLayers = 4;

class RandomLayer {
 public:
  RandomLayer(std::mt19937& random, std::vector<std::string>& used)
      : random_(random), used_(used) {}

  Bytes Make() {
    TarWriter tar;
    const int count = Below(9) + 1;
    for (int i = 0; i < count; ++i) AddEntry(tar);
    return tar.Finish();
  }

 private:
  int Below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }

  // Directories are a to d, as a rule, and other things w to z, so that not every second entry has
  // a file as its parent.
  std::string DirectoryName() { return std::string(1, static_cast<char>('a' + Below(4))); }
  std::string OtherName() { return std::string(1, static_cast<char>('w' + Below(4))); }
  std::string Name(int other_percent) {
    return Below(100) < other_percent ? OtherName() : DirectoryName();
  }

  std::string Path(int other_percent) {
    std::string path;
    for (int more = Below(3); more > 0; --more) path += DirectoryName() + "/";
    return path + Name(other_percent);
  }

  std::string LinkTarget() {
    if (used_.empty() || Below(8) == 0) return Path(90);
    return used_[static_cast<size_t>(Below(static_cast<int>(used_.size())))];
  }

  std::string Target() {
    static constexpr const char* kPrefixes[] = {"", "", "/", "../", "../../", "./"};
    const std::string path = kPrefixes[Below(6)] + Path(20);
    return Below(12) == 0 ? path + "/../" + Name(50) : path;
  }

  uint32_t Mode(uint32_t usual) { return Below(4) == 0 ? 0700 : usual; }

  void AddEntry(TarWriter& tar) {
    const int kind = Below(100);
    if (kind < 30) {
      const std::string path = Path(90);
      tar.File(path, "#" + std::to_string(random_() % 1'000'000), Mode(0644));
      used_.push_back(path);
    } else if (kind < 48) {
      tar.Directory(Path(10), Mode(0755));
    } else if (kind < 63) {
      tar.Symlink(Path(30), Target());
    } else if (kind < 78) {
      tar.HardLink(Path(90), LinkTarget());
    } else if (kind < 91) {
      const std::string path = Path(50);
      tar.File(path.substr(0, path.size() - 1) + ".wh." + path.substr(path.size() - 1));
    } else if (kind < 97) {
      tar.File(Path(0) + "/.wh..wh..opq");
    } else {
      tar.Fifo(Path(90));
    }
  }

  std::mt19937& random_;
  std::vector<std::string>& used_;  // by files, in all layers so far
};

// A directory that goes with the test.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (Parent() / "layerfs-merge-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    ::chmod(path_.c_str(), 0755);
  }
  ~ScratchDirectory() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  // In memory where the machine has such a place: the test makes some 100,000 files.
  static fs::path Parent() {
    const fs::path memory = "/dev/shm";
    return ::access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
  }

  fs::path path_;
};

bool IsWhiteout(const TarEntry& entry) {
  return fs::path(entry.path).filename().string().starts_with(".wh.");
}

enum class Order { kAsIs, kWhiteoutsFirst, kWhiteoutsLast, kWhiteoutsFirstReversed };
constexpr size_t kOrders = 4;

std::vector<TarEntry> Ordered(const std::vector<TarEntry>& entries, Order order) {
  if (order == Order::kAsIs) return entries;
  std::vector<TarEntry> first;
  std::vector<TarEntry> then;
  for (const TarEntry& entry : entries) {
    const bool last = IsWhiteout(entry) == (order == Order::kWhiteoutsLast);
    (last ? then : first).push_back(entry);
  }
  if (order == Order::kWhiteoutsFirstReversed) std::ranges::reverse(first);
  first.insert(first.end(), then.begin(), then.end());
  return first;
}

struct Tally {
  int compared = 0;
  int refused = 0;
  int ambiguous = 0;
};

std::string Listing(const std::vector<Bytes>& tars) {
  std::string text;
  for (const Bytes& tar : tars) {
    text += "layer:\n";
    const auto entries = ParseTar(tar);
    for (const TarEntry& entry : entries.value()) {
      text += "  " + std::to_string(static_cast<int>(entry.type)) + " " + entry.path + " " +
              entry.link_target + "\n";
    }
  }
  return text;
}

// Whether to go on with this seed.
bool CompareOnce(const std::vector<Bytes>& tars, std::vector<DiskExtractor>& extractors,
                 Tally& tally) {
  const Bytes& tar = tars.back();
  const std::vector<TarEntry> entries = ParseTar(tar).value();
  std::map<uint64_t, std::string> contents;
  for (const TarEntry& entry : entries) {
    contents[entry.header_offset] =
        AsText(ByteSpan(tar).subspan(entry.data_offset, entry.data_size));
  }
  for (size_t order = 0; order < kOrders; ++order) {
    const ExtractOutcome outcome =
        extractors[order].Apply(Ordered(entries, static_cast<Order>(order)), contents);
    if (outcome == ExtractOutcome::kRefused) return ++tally.refused, false;
    if (outcome == ExtractOutcome::kAmbiguous) return ++tally.ambiguous, false;
  }
  const std::string expected = extractors[0].Dump();
  for (const DiskExtractor& extractor : extractors) {
    if (extractor.Dump() != expected) return ++tally.ambiguous, false;
  }
  ++tally.compared;
  EXPECT_EQ(DumpMerged(tars), expected) << Listing(tars);
  return !testing::Test::HasFailure();
}

TEST(MergeDifferentialTest, TreesAreThoseThatAnExtractorMakes) {
  Tally tally;
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const ScratchDirectory directories[kOrders];
    std::vector<DiskExtractor> extractors;
    for (const ScratchDirectory& directory : directories) extractors.emplace_back(directory.path());
    std::vector<std::string> used;
    std::vector<Bytes> tars;
    for (int layer = 0; layer < kLayers; ++layer) {
      tars.push_back(RandomLayer(random, used).Make());
      if (!CompareOnce(tars, extractors, tally)) break;
    }
    if (HasFailure()) break;
  }
  std::printf("%d trees compared; seeds ended by a refusal %d, by ambiguity %d\n", tally.compared,
              tally.refused, tally.ambiguous);
  EXPECT_GT(tally.compared, kSeeds / 4) << "Too few of the layers say something.";
}

}  // namespace
}  // namespace layerfs

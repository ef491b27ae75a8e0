// SPDX-License-Identifier: Apache-2.0
#include "tools/startup_check.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <thread>

#include "fs/file_reader.h"
#include "fs/inode_paths.h"
#include "fs/startup_pack.h"
#include "index/index_check.h"
#include "index/index_dump.h"
#include "tools/blob_check.h"
#include "tools/startup/pack_page_reader.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kLookAgain{20};
// Of pages; the next ones are counted.
constexpr size_t kMaxTold = 10;

// Where two trees' dumps begin to differ; two empty lines where they do not.
struct Difference {
  std::string in_pack;
  std::string in_layers;
  bool any() const { return !in_pack.empty() || !in_layers.empty(); }
};

class StartupCheck {
 public:
  StartupCheck(const Image& image, const std::shared_ptr<Image>& layers,
               const ImageContext& context, const StartupCheckOptions& options)
      : image_(image),
        layers_(*layers),
        reader_(layers, context, FileReader::Options{options.timeout}),
        options_(options) {}

  Result<std::vector<std::string>> Run() {
    if (image_.startup() == nullptr) return std::move(findings_);
    const bool same = std::ranges::equal(image_.tree().bytes(), layers_.tree().bytes());
    if (!same) LAYERFS_CHECK_OK(CompareTrees());
    // Pages of files that the layers do not have are compared with nothing.
    if (findings_.empty() && options_.pages) {
      LAYERFS_TRY(runs, same ? image_.startup()->runs() : RunsInLayers());
      LAYERFS_CHECK_OK(ComparePages(*image_.startup(), runs));
    }
    return std::move(findings_);
  }

 private:
  Status CheckStopped() const {
    if (options_.stopped == nullptr || !options_.stopped->load()) return {};
    return Fail(ErrorCode::kCancelled, "the check was stopped");
  }

  // Any other error ends the check.
  Status NoteDamage(const Error& error) {
    if (!IsDamage(error)) return Fail(error);
    findings_.push_back(error.context);
    return {};
  }

  // Trees that another version has numbered otherwise show the same.
  Status CompareTrees() {
    for (const std::string& finding : CheckIndex(image_.tree())) {
      findings_.push_back("its tree: " + finding);
    }
    LAYERFS_TRY(difference, CompareDumps());
    if (!difference.any()) return {};
    std::string what = "its tree is not what the layers make";
    if (!difference.in_pack.empty()) what += ", from \"" + difference.in_pack + "\" on";
    if (!difference.in_layers.empty()) {
      what += ", where the layers have \"" + difference.in_layers + "\"";
    }
    findings_.push_back(std::move(what));
    return {};
  }

  Result<Difference> CompareDumps() const {
    std::string packed;
    LAYERFS_CHECK_OK(DumpIndex(image_.tree(), {}, [&](std::string_view line) -> Status {
      packed.append(line).push_back('\n');
      return CheckStopped();
    }));
    std::string_view left = packed;
    const auto next_packed = [&] {
      const std::string_view line = left.substr(0, left.find('\n'));
      return std::string(line);
    };
    std::optional<Difference> found;
    const Status dumped = DumpIndex(layers_.tree(), {}, [&](std::string_view line) -> Status {
      if (left.starts_with(line) && left.substr(line.size()).starts_with('\n')) {
        left.remove_prefix(line.size() + 1);
        return CheckStopped();
      }
      found = Difference{next_packed(), std::string(line)};
      return Fail(ErrorCode::kCancelled, "a difference has been found");
    });
    if (found.has_value()) return *found;
    LAYERFS_CHECK_OK(dumped);
    return Difference{next_packed(), {}};
  }

  // The pack's runs, by the numbers that the layers' tree has for their files.
  Result<std::vector<PackRun>> RunsInLayers() const {
    InodePaths paths(image_.tree());
    std::vector<PackRun> runs = image_.startup()->runs();
    for (PackRun& run : runs) {
      LAYERFS_TRY(inode, ResolvePath(layers_.tree(), paths.PathOf(run.inode), false));
      run.inode = inode;
    }
    return runs;
  }

  // `runs`: the pack's, by the numbers of the layers' tree.
  Status ComparePages(const StartupPack& pack, const std::vector<PackRun>& runs) {
    auto outcome = pack.outcome();
    for (; !outcome.has_value(); outcome = pack.outcome()) {
      LAYERFS_CHECK_OK(CheckStopped());
      std::this_thread::sleep_for(kLookAgain);
    }
    if (!outcome->has_value()) LAYERFS_CHECK_OK(NoteDamage(outcome->error()));
    PackPageReader pages(reader_, runs, pack.available());
    while (!pages.AtEnd()) {
      LAYERFS_CHECK_OK(CheckStopped());
      const uint64_t position = pages.position();
      const auto layered = pages.Next();
      if (!layered.has_value()) {
        LAYERFS_CHECK_OK(NoteDamage(layered.error()));
        continue;
      }
      Bytes packed(layered->size());
      LAYERFS_CHECK_OK(pack.Read(position, packed));
      ComparePiece(runs, position, packed, *layered);
    }
    if (differing_ > kMaxTold) {
      findings_.push_back(std::to_string(differing_ - kMaxTold) +
                          " more pages are not what the layers have");
    }
    return {};
  }

  void ComparePiece(const std::vector<PackRun>& runs, uint64_t position, ByteSpan packed,
                    ByteSpan layered) {
    for (size_t at = 0; at < packed.size(); at += kPackPageBytes) {
      if (std::ranges::equal(packed.subspan(at, kPackPageBytes),
                             layered.subspan(at, kPackPageBytes))) {
        continue;
      }
      if (++differing_ > kMaxTold) continue;
      uint64_t page = (position + at) / kPackPageBytes;
      auto run = runs.begin();
      for (; page >= run->pages; ++run) page -= run->pages;
      findings_.push_back("page " + std::to_string(run->first_page + page) + " of " +
                          reader_.paths().PathOf(run->inode) + " is not what the layer has");
    }
  }

  const Image& image_;
  const Image& layers_;
  FileReader reader_;
  const StartupCheckOptions& options_;
  std::vector<std::string> findings_;
  size_t differing_ = 0;
};

}  // namespace

Result<std::vector<std::string>> CheckStartup(const Image& image,
                                              const std::shared_ptr<Image>& layers,
                                              const ImageContext& context,
                                              const StartupCheckOptions& options) {
  return StartupCheck(image, layers, context, options).Run();
}

}  // namespace layerfs

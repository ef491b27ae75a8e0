// SPDX-License-Identifier: Apache-2.0
#include "tools/startup_check.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <thread>

#include "fs/file_reader.h"
#include "fs/startup_pack.h"
#include "index/index_dump.h"
#include "tools/blob_check.h"

namespace layerfs {
namespace {

constexpr std::chrono::milliseconds kLookAgain{20};
constexpr uint32_t kPagesAtOnce = 256;
// Of pages; the next ones are counted.
constexpr size_t kMaxTold = 10;

Result<std::vector<std::string>> Dump(const Index& tree) {
  std::vector<std::string> lines;
  LAYERFS_CHECK_OK(DumpIndex(tree, {}, [&](std::string_view line) -> Status {
    lines.emplace_back(line);
    return {};
  }));
  return lines;
}

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
    // Runs of pages name files by their inodes' numbers.
    if (same && options_.pages) LAYERFS_CHECK_OK(ComparePages(*image_.startup()));
    return std::move(findings_);
  }

 private:
  bool stopped() const { return options_.stopped != nullptr && options_.stopped->load(); }

  static Status Stopped() { return Fail(ErrorCode::kCancelled, "the check was stopped"); }

  // Any other error ends the check.
  Status NoteDamage(const Error& error) {
    if (!IsDamage(error)) return Fail(error);
    findings_.push_back(error.context);
    return {};
  }

  Status CompareTrees() {
    LAYERFS_TRY(packed, Dump(image_.tree()));
    LAYERFS_TRY(merged, Dump(layers_.tree()));
    const auto [in_pack, in_layers] = std::ranges::mismatch(packed, merged);
    std::string what = "its tree is not what the layers make";
    if (in_pack != packed.end()) what += ", from \"" + *in_pack + "\" on";
    if (in_layers != merged.end()) what += ", where the layers have \"" + *in_layers + "\"";
    findings_.push_back(std::move(what));
    return {};
  }

  Status ComparePages(const StartupPack& pack) {
    auto outcome = pack.outcome();
    for (; !outcome.has_value(); outcome = pack.outcome()) {
      if (stopped()) return Stopped();
      std::this_thread::sleep_for(kLookAgain);
    }
    if (!outcome->has_value()) LAYERFS_CHECK_OK(NoteDamage(outcome->error()));
    uint64_t position = 0;
    for (const PackRun& run : pack.runs()) {
      for (uint32_t done = 0; done < run.pages; done += kPagesAtOnce) {
        const uint32_t pages = std::min(run.pages - done, kPagesAtOnce);
        if (position + pages * kPackPageBytes > pack.available()) return TellTheRest();
        if (stopped()) return Stopped();
        const Status compared = Compare(pack, position, {run.inode, run.first_page + done, pages});
        // A layer that cannot be read says nothing of the pack's other pages either.
        if (!compared.has_value()) {
          LAYERFS_CHECK_OK(NoteDamage(compared.error()));
          return TellTheRest();
        }
        position += pages * kPackPageBytes;
      }
    }
    return TellTheRest();
  }

  Status Compare(const StartupPack& pack, uint64_t position, const PackRun& run) {
    Bytes packed(run.pages * kPackPageBytes);
    LAYERFS_CHECK_OK(pack.Read(position, packed));
    LAYERFS_TRY(layered,
                reader_.ReadAndWait(run.inode, run.first_page * kPackPageBytes, packed.size()));
    layered.resize(packed.size());  // zeros behind the file's end
    for (uint32_t page = 0; page < run.pages; ++page) {
      const auto of = [&](const Bytes& bytes) {
        return ByteSpan(bytes).subspan(page * kPackPageBytes, kPackPageBytes);
      };
      if (std::ranges::equal(of(packed), of(layered))) continue;
      if (++differing_ > kMaxTold) continue;
      findings_.push_back("page " + std::to_string(run.first_page + page) + " of " +
                          reader_.paths().PathOf(run.inode) + " is not what the layer has");
    }
    return {};
  }

  Status TellTheRest() {
    if (differing_ <= kMaxTold) return {};
    findings_.push_back(std::to_string(differing_ - kMaxTold) +
                        " more pages are not what the layers have");
    return {};
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

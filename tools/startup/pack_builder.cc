// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/pack_builder.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "fs/chunk_wait.h"
#include "index/base/large_buffer.h"
#include "index/base/zstd_codec.h"
#include "index/index_codec.h"
#include "tools/startup/pack_page_reader.h"
#include "tools/startup/pack_run_plan.h"

namespace layerfs {
namespace {

// For the tree and what else has one frame of its own.
constexpr int kFrameLevel = 12;

class PackBuilder {
 public:
  PackBuilder(Image& image, FileReader& reader, Scheduler& scheduler, const PackOptions& options)
      : image_(image), reader_(reader), scheduler_(scheduler), options_(options) {}

  Result<BuiltPack> Build(std::span<const Trace> traces) {
    const uint64_t max_pages =
        std::min<uint64_t>(options_.max_bytes / kPackPageBytes, kMaxPackPages);
    const Index& tree = image_.tree();
    const PackRunPlan planned =
        PlanPackRuns(MergeTraces(traces), max_pages,
                     [&tree](const std::string& path) -> std::optional<PackFile> {
                       const auto found = ResolvePath(tree, path, false);
                       if (!found.has_value() || !tree.Get(*found).is_regular())
                         return std::nullopt;
                       return PackFile{*found, tree.Get(*found).size};
                     });
    if (planned.packed.size() > kMaxPackRuns) {
      return Fail(ErrorCode::kTooLarge, "startup pack: the traces have too many runs of pages");
    }
    built_.missing_paths = planned.missing_paths;
    built_.head.image = image_.manifest_digest();
    built_.head.page_count = planned.page_count;
    built_.gap_pages = planned.gap_pages;
    built_.head.run_count = static_cast<uint32_t>(planned.packed.size());
    built_.head.bare_run_count = static_cast<uint32_t>(planned.bare.size());
    LAYERFS_CHECK_OK(AddTree());
    LAYERFS_CHECK_OK(AddConfig());
    std::vector<PackRun> runs = planned.packed;
    runs.insert(runs.end(), planned.bare.begin(), planned.bare.end());
    if (runs.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "the traces read nothing that the image has; record one of this image");
    }
    LAYERFS_CHECK_OK(AddFrame(PackPartKind::kRuns, EncodePackRuns(runs)));
    LAYERFS_CHECK_OK(AddPages(planned.packed));
    LAYERFS_CHECK_OK(AddSegments(runs));
    built_.blob = built_.head.Encode();
    built_.blob.insert(built_.blob.end(), stored_.begin(), stored_.end());
    return std::move(built_);
  }

 private:
  void AddPart(PackPartKind kind, uint64_t size, ByteSpan stored) {
    built_.head.parts.push_back({kind, static_cast<uint32_t>(stored.size()),
                                 static_cast<uint32_t>(size), Digest::Of(stored)});
    stored_.insert(stored_.end(), stored.begin(), stored.end());
  }

  Status AddFrame(PackPartKind kind, ByteSpan bytes) {
    Bytes frame;
    LAYERFS_CHECK_OK(ZstdCompressor(kFrameLevel).Compress(bytes, frame));
    AddPart(kind, bytes.size(), frame);
    return {};
  }

  Status AddTree() {
    LAYERFS_TRY(arranged, EncodeIndex(image_.tree().bytes()));
    LAYERFS_CHECK_OK(AddFrame(PackPartKind::kTree, arranged));
    built_.stored_tree_bytes = stored_.size();
    return {};
  }

  Status AddConfig() {
    LAYERFS_TRY(raw, image_.RawConfig());
    if (raw.empty() || raw.size() > kMaxChunkBytes) return {};
    return AddFrame(PackPartKind::kConfig, raw);
  }

  Status AddPages(const std::vector<PackRun>& runs) {
    const uint64_t total = uint64_t{built_.head.page_count} * kPackPageBytes;
    ZstdStreamCompressor stream(options_.level, total);
    Sha256 hash;
    PackPageReader pages(reader_, runs, total);
    while (!pages.AtEnd()) {
      LAYERFS_TRY(piece, pages.Next());
      hash.Update(piece);
      Bytes stored;
      LAYERFS_CHECK_OK(stream.Compress(piece, pages.AtEnd(), stored));
      AddPart(PackPartKind::kPages, piece.size(), stored);
      built_.stored_page_bytes += stored.size();
    }
    built_.head.pages_digest = hash.Finish();
    return {};
  }

  // Those that the files of the runs are in: reads that the traces have not seen go to the same
  // files more often than not.
  Status AddSegments(const std::vector<PackRun>& runs) {
    const Index& tree = image_.tree();
    std::set<uint32_t> numbers;
    for (const PackRun& run : runs) {
      for (const DataExtent& extent : tree.DataExtents(run.inode, run.first_page * kPackPageBytes,
                                                       run.pages * kPackPageBytes)) {
        const auto number = tree.FindSegment(tree.Get(run.inode).layer, extent.tar_offset);
        if (number.has_value()) numbers.insert(*number);
      }
    }
    std::vector<ChunkRequest> requests;
    uint64_t size = 0;
    std::vector<PackSegment> segments;
    for (const uint32_t number : numbers) {
      const SegmentRef segment = tree.Segment(number);
      size += sizeof number + segment.ref.size;
      if (size > kMaxChunkBytes) break;
      ChunkRequest request;
      request.blob = image_.layer_blob(segment.layer);
      request.chunk = segment.ref;
      requests.push_back(std::move(request));
      segments.push_back({number, {}});
    }
    if (segments.empty()) return {};
    LAYERFS_TRY(fetched, FetchAllAndWait(scheduler_, std::move(requests)));
    for (size_t i = 0; i < segments.size(); ++i) segments[i].bytes = *fetched[i];
    return AddFrame(PackPartKind::kSegments, EncodePackSegments(segments));
  }

  Image& image_;
  FileReader& reader_;
  Scheduler& scheduler_;
  const PackOptions& options_;
  BuiltPack built_;
  Bytes stored_;  // the parts
};

}  // namespace

Result<BuiltPack> BuildStartupPack(Image& image, FileReader& reader, Scheduler& scheduler,
                                   std::span<const Trace> traces, const PackOptions& options) {
  return PackBuilder(image, reader, scheduler, options).Build(traces);
}

}  // namespace layerfs

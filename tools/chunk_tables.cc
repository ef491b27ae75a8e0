// SPDX-License-Identifier: Apache-2.0
#include "tools/chunk_tables.h"

#include <string>

namespace layerfs {

Result<ChunkTableSegment> LoadSegment(Image& image, Scheduler& scheduler, ObjectCache& cache,
                                      uint32_t number) {
  const SegmentRef segment = image.tree().Segment(number);
  const auto blob = image.layer_blob(segment.layer);
  ChunkRequest request;
  request.blob = blob;
  request.chunk = segment.ref;
  request.reason = "chunk table";
  request.is_told = true;
  if (auto object = cache.OpenObject(ObjectId{segment.ref.digest, segment.ref.size, {}})) {
    request.object = std::move(*object);
  }
  LAYERFS_TRY(bytes, scheduler.FetchAndWait(std::move(request)));
  LAYERFS_TRY_IN(
      table, ChunkTableSegment::Open(*bytes, segment),
      "blob " + blob->digest.ToString() + ": chunk table segment " + std::to_string(number));
  return table;
}

Status ForEachSegment(
    Image& image, Scheduler& scheduler, ObjectCache& cache,
    const std::function<Status(const SegmentRef&, const ChunkTableSegment&)>& on_segment) {
  const Index& tree = image.tree();
  for (uint32_t i = 0; i < tree.segment_count(); ++i) {
    LAYERFS_TRY(table, LoadSegment(image, scheduler, cache, i));
    LAYERFS_CHECK_OK(on_segment(tree.Segment(i), table));
  }
  return {};
}

}  // namespace layerfs

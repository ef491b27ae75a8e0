// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/stored_index.h"

#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "fetch/chunk_decoder.h"
#include "index/base/digest.h"
#include "index/base/file.h"
#include "index/base/zstd_codec.h"
#include "index/chunk_table.h"
#include "index/index_check.h"
#include "index/index_codec.h"
#include "index/layer_footer.h"

namespace layerfs {
namespace {

// An index on its way.
struct Fetch {
  Result<ChunkRef> where = ChunkRef();
  Bytes stored;
  std::promise<Status> done;
};

Result<ChunkRef> WhereIndexIs(const Descriptor& layer) {
  LAYERFS_TRY(where, DecodeIndexAnnotations(layer.annotations, layer.size));
  if (!where.has_value()) return Fail(ErrorCode::kUnsupported, "the layer is not converted");
  return *where;
}

std::unique_ptr<Fetch> StartFetch(BlobSource& source, const Descriptor& layer) {
  auto fetch = std::make_unique<Fetch>();
  fetch->where = WhereIndexIs(layer);
  if (!fetch->where.has_value()) {
    fetch->done.set_value({});
    return fetch;
  }
  const BlobRange range{layer.digest, layer.size, fetch->where->blob_offset,
                        fetch->where->stored_size};
  source.Start(
      range, FetchClass::kDemand,
      {[to = fetch.get()](ByteSpan bytes) {
         to->stored.insert(to->stored.end(), bytes.begin(), bytes.end());
         return true;
       },
       [to = fetch.get()](const TransferResult& result) { to->done.set_value(result.status); }});
  return fetch;
}

Result<StoredIndex> TakeFetched(Fetch& fetch, const Status& ended) {
  if (!fetch.where.has_value()) return Fail(fetch.where.error());
  if (!ended.has_value()) return Fail(ended.error());
  return StoredIndex{*fetch.where, std::move(fetch.stored)};
}

}  // namespace

std::vector<Result<StoredIndex>> FetchIndexes(BlobSource& source,
                                              const std::vector<Descriptor>& layers) {
  std::vector<std::unique_ptr<Fetch>> fetches;
  fetches.reserve(layers.size());
  for (const Descriptor& layer : layers) fetches.push_back(StartFetch(source, layer));
  // All of them end before anything is given up: they write into what is here.
  std::vector<Status> ended;
  ended.reserve(layers.size());
  for (const auto& fetch : fetches) ended.push_back(fetch->done.get_future().get());
  std::vector<Result<StoredIndex>> indexes;
  indexes.reserve(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) indexes.push_back(TakeFetched(*fetches[i], ended[i]));
  return indexes;
}

Result<StoredIndex> ReadStoredIndex(int blob_file, const Descriptor& layer) {
  LAYERFS_TRY(where, WhereIndexIs(layer));
  StoredIndex index{where, Bytes(where.stored_size)};
  LAYERFS_CHECK_OK(ReadFullAt(blob_file, where.blob_offset, index.stored));
  return index;
}

Result<Index> OpenIndex(const StoredIndex& index) {
  Bytes arranged(index.where.size);
  LAYERFS_CHECK_OK(ZstdDecompressor().Decompress(index.stored, arranged));
  if (Digest::Of(arranged) != index.where.digest) {
    return Fail(ErrorCode::kDigestMismatch, "its index is not " + index.where.digest.ToString());
  }
  LAYERFS_TRY(decoded, DecodeIndex(arranged));
  return Index::Open(std::move(decoded));
}

Status CheckLayerIndex(const Index& index, const Digest& diff_id) {
  if (index.kind() != IndexKind::kLayer || index.layers().size() != 1) {
    return Fail(ErrorCode::kCorrupt, "its index is not one layer's");
  }
  const Digest& tar = index.layers().front().diff_id;
  if (tar == diff_id) return {};
  return Fail(ErrorCode::kCorrupt, "its index is that of the tar " + tar.ToString());
}

Status CheckChunks(int blob_file, const Descriptor& layer, const Index& index) {
  Sha256 tar;
  const auto read = [&](const ChunkRef& ref) -> Result<SharedBytes> {
    if (ref.blob_offset > layer.size || ref.stored_size > layer.size - ref.blob_offset) {
      return Fail(ErrorCode::kCorrupt, "a chunk lies outside of the blob");
    }
    Bytes stored(ref.stored_size);
    LAYERFS_CHECK_OK(ReadFullAt(blob_file, ref.blob_offset, stored));
    return DecodeChunk(ref, stored);
  };
  for (uint32_t i = 0; i < index.segment_count(); ++i) {
    const SegmentRef segment = index.Segment(i);
    const std::string name = "segment " + std::to_string(i) + " of its chunk table";
    LAYERFS_TRY_IN(bytes, read(segment.ref), name);
    LAYERFS_TRY_IN(table, ChunkTableSegment::Open(*bytes, segment), name);
    std::vector<std::string> findings = CheckSegment(table, layer.size);
    for (std::string& finding : CheckContents(index, table)) findings.push_back(std::move(finding));
    if (!findings.empty()) return Fail(ErrorCode::kCorrupt, name + ": " + findings.front());
    for (const Chunk& chunk : table.chunks()) {
      LAYERFS_TRY_IN(content, read(chunk.ref), "chunk at " + std::to_string(chunk.ref.blob_offset));
      tar.Update(*content);
    }
  }
  const Digest made = tar.Finish();
  if (made == index.layers().front().diff_id) return {};
  return Fail(ErrorCode::kCorrupt, "its chunks make the tar " + made.ToString());
}

bool HasLinksBelow(const Index& index) {
  for (uint32_t i = 1; i <= index.inode_count(); ++i) {
    if (index.Get(InodeNumber{i}).unresolved_link) return true;
  }
  return false;
}

}  // namespace layerfs

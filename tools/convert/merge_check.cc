// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/merge_check.h"

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "index/base/digest.h"
#include "index/base/zstd_codec.h"
#include "index/index.h"
#include "index/index_codec.h"
#include "index/layer_footer.h"
#include "index/merge.h"

namespace layerfs {
namespace {

// An index on its way.
struct Fetch {
  ChunkRef where;
  Bytes stored;
  std::promise<Status> done;
};

std::unique_ptr<Fetch> StartFetch(BlobSource& source, const Descriptor& layer,
                                  const ChunkRef& where) {
  auto fetch = std::make_unique<Fetch>();
  fetch->where = where;
  const BlobRange range{layer.digest, layer.size, where.blob_offset, where.stored_size};
  source.Start(
      range, FetchClass::kDemand,
      {[to = fetch.get()](ByteSpan bytes) {
         to->stored.insert(to->stored.end(), bytes.begin(), bytes.end());
         return true;
       },
       [to = fetch.get()](const TransferResult& result) { to->done.set_value(result.status); }});
  return fetch;
}

Result<Index> OpenFetched(const Fetch& fetch) {
  Bytes arranged(fetch.where.size);
  LAYERFS_CHECK_OK(ZstdDecompressor().Decompress(fetch.stored, arranged));
  if (Digest::Of(arranged) != fetch.where.digest) {
    return Fail(ErrorCode::kDigestMismatch, "its index is not " + fetch.where.digest.ToString());
  }
  LAYERFS_TRY(decoded, DecodeIndex(arranged));
  return Index::Open(std::move(decoded));
}

}  // namespace

Status CheckMerge(ImageReader& destination, const std::vector<Descriptor>& layers) {
  const std::shared_ptr<BlobSource> source = destination.blob_source();
  if (source == nullptr) return {};
  std::vector<ChunkRef> places;
  for (const Descriptor& layer : layers) {
    LAYERFS_TRY(where, DecodeIndexAnnotations(layer.annotations, layer.size));
    if (!where.has_value()) return Fail(ErrorCode::kUnsupported, "a layer is not converted");
    places.push_back(*where);
  }
  std::vector<std::unique_ptr<Fetch>> fetches;
  for (size_t i = 0; i < layers.size(); ++i) {
    fetches.push_back(StartFetch(*source, layers[i], places[i]));
  }
  // All of them end before anything is given up: they write into what is here.
  std::vector<Status> ended;
  for (const auto& fetch : fetches) ended.push_back(fetch->done.get_future().get());
  TreeMerger merger;
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string name = "layer " + std::to_string(i + 1) + " of " +
                             std::to_string(layers.size()) + " (" + layers[i].digest.ToString() +
                             ")";
    LAYERFS_CHECK_OK_IN(ended[i], name);
    LAYERFS_TRY_IN(index, OpenFetched(*fetches[i]), name);
    fetches[i].reset();
    LAYERFS_CHECK_OK(merger.Apply(index, {layers[i].digest, layers[i].size}));
  }
  return {};
}

}  // namespace layerfs

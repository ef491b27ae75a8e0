// SPDX-License-Identifier: Apache-2.0
#include "index/merge.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "index/merge_apply.h"
#include "index/mutable_tree.h"
#include "index/tree_serializer.h"

namespace layerfs {
namespace {

constexpr size_t kMaxLayers = std::numeric_limits<uint16_t>::max();

}  // namespace

class TreeMerger::Impl {
 public:
  Impl() { tree_.SetImplicit(kRootInode, false); }

  Status Load(const Index& tree) {
    if (tree.kind() != IndexKind::kTree) {
      return Fail(ErrorCode::kInvalidArgument, "the index to go on from is a layer's");
    }
    layers_.assign(tree.layers().begin(), tree.layers().end());
    for (uint32_t i = 0; i < tree.segment_count(); ++i) segments_.push_back(tree.Segment(i));
    // A tree is a layer over nothing whose layer numbers are right already.
    return LayerApplier(tree_, tree, LayerNumber{0}).Run();
  }

  Status Apply(const Index& layer, const LayerBlob& blob) {
    if (layer.kind() != IndexKind::kLayer || layer.layers().size() != 1) {
      return Fail(ErrorCode::kInvalidArgument, "the index to lay on top is not one layer's");
    }
    if (layers_.size() >= kMaxLayers) {
      return Fail(ErrorCode::kTooLarge, "more than " + std::to_string(kMaxLayers) + " layers");
    }
    if (blob.size > INT64_MAX) return Fail(ErrorCode::kCorrupt, "its size is no blob's");
    for (uint32_t i = 0; i < layer.segment_count(); ++i) {
      const ChunkRef ref = layer.Segment(i).ref;
      if (!RangeFits(ref.blob_offset, ref.stored_size, blob.size)) {
        return Fail(ErrorCode::kCorrupt, "its index's segment " + std::to_string(i) +
                                             " at blob offset " + std::to_string(ref.blob_offset) +
                                             " lies outside the blob");
      }
    }
    const auto number = static_cast<LayerNumber>(layers_.size());
    LayerInfo info = layer.layers().front();
    info.blob = blob.digest;
    info.blob_size = blob.size;
    info.first_segment = static_cast<uint32_t>(segments_.size());
    info.segment_count = layer.segment_count();
    layers_.push_back(info);
    for (uint32_t i = 0; i < layer.segment_count(); ++i) {
      segments_.push_back(layer.Segment(i));
      segments_.back().layer = number;
    }
    return LayerApplier(tree_, layer, number).Run();
  }

  Result<Bytes> Finish() && {
    return SerializeTree(std::move(tree_), IndexKind::kTree, layers_, segments_);
  }

 private:
  MutableTree tree_;
  std::vector<LayerInfo> layers_;
  std::vector<SegmentRef> segments_;
};

TreeMerger::TreeMerger() : TreeMerger(std::make_unique<Impl>()) {}
TreeMerger::TreeMerger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TreeMerger::TreeMerger(TreeMerger&&) noexcept = default;
TreeMerger& TreeMerger::operator=(TreeMerger&&) noexcept = default;
TreeMerger::~TreeMerger() = default;

Result<TreeMerger> TreeMerger::From(const Index& tree) {
  auto impl = std::make_unique<Impl>();
  LAYERFS_CHECK_OK(impl->Load(tree));
  return TreeMerger(std::move(impl));
}

Status TreeMerger::Apply(const Index& layer, const LayerBlob& blob) {
  Status status = impl_->Apply(layer, blob);
  if (status.has_value()) return {};
  return Fail(std::move(status).error().In("layer " + blob.digest.ToString()));
}

Result<Bytes> TreeMerger::Finish() && { return std::move(*impl_).Finish(); }

Result<Bytes> Merge(const Index& tree, const Index& layer, const TreeMerger::LayerBlob& blob) {
  LAYERFS_TRY(merger, TreeMerger::From(tree));
  LAYERFS_CHECK_OK(merger.Apply(layer, blob));
  return std::move(merger).Finish();
}

}  // namespace layerfs

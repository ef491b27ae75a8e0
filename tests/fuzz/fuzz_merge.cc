// SPDX-License-Identifier: Apache-2.0
// Any bytes as a tar on top of a fixed base, the whole way: tar → layer index → tree; or, where
// they begin like one, as a layer index that somebody forged. Invariants: what the builder and the
// merge write is a valid index, and a tree that is read and written again is the same bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "index/index.h"
#include "index/layer_index_builder.h"
#include "index/merge.h"
#include "index/tar_parser.h"
#include "tests/index/index_reseal.h"
#include "tests/index/tar_writer.h"

namespace {

using layerfs::Bytes;
using layerfs::ByteSpan;
using layerfs::Index;
using layerfs::IndexKind;
using layerfs::LayerIndexBuilder;
using layerfs::Result;
using layerfs::Status;
using layerfs::TarEntry;
using layerfs::TarParser;
using layerfs::TarWriter;
using layerfs::TreeMerger;

void Require(bool holds) {
  if (!holds) std::abort();
}

Index MustOpen(Bytes bytes) {
  Result<Index> index = Index::Open(std::move(bytes));
  Require(index.has_value());
  return std::move(*index);
}

// Nothing where the bytes are refused; likewise below.
std::optional<Index> LayerFromForgery(ByteSpan input) {
  Bytes bytes(input.begin(), input.end());
  layerfs::ResealIndex(bytes);
  Result<Index> index = Index::Open(std::move(bytes));
  if (!index.has_value() || index->kind() != IndexKind::kLayer) return std::nullopt;
  return std::move(*index);
}

std::optional<Index> LayerFrom(ByteSpan tar) {
  LayerIndexBuilder builder;
  TarParser parser([&](TarEntry&& entry) { return builder.Add(entry); });
  if (!parser.Feed(tar).has_value() || !parser.Finish().has_value()) return std::nullopt;
  Result<Bytes> index = builder.Finish({.diff_id = {}, .tar_size = tar.size(), .segments = {}});
  if (!index.has_value()) return std::nullopt;
  return MustOpen(std::move(*index));
}

// One of each thing that an entry can meet, under the names that a fuzzer tries first.
const Index& Base() {
  static const Index base = [] {
    const Bytes tar = TarWriter()
                          .Directory("d")
                          .File("d/f", "1")
                          .Directory("dir")
                          .File("dir/file", "2")
                          .HardLink("h", "d/f")
                          .Symlink("l", "d")
                          .Symlink("dir/link", "../l")
                          .Symlink("a", "b")
                          .Symlink("b", "a")
                          .Symlink("gone", "/no/where")
                          .Fifo("f")
                          .Finish();
    std::optional<Index> layer = LayerFrom(tar);
    Require(layer.has_value());
    TreeMerger merger;
    Require(merger.Apply(*layer, {}).has_value());
    Result<Bytes> tree = std::move(merger).Finish();
    Require(tree.has_value());
    return MustOpen(std::move(*tree));
  }();
  return base;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteSpan input(data, size);
  const bool forged = layerfs::AsText(input).starts_with(std::string_view("LAYERFSI"));
  const std::optional<Index> layer = forged ? LayerFromForgery(input) : LayerFrom(input);
  if (!layer.has_value()) return 0;
  Result<Bytes> merged = Merge(Base(), *layer, {.digest = {}, .size = INT64_MAX});
  if (!merged.has_value()) return 0;
  const Index tree = MustOpen(std::move(*merged));
  Result<TreeMerger> again = TreeMerger::From(tree);
  Require(again.has_value());
  const Result<Bytes> same = std::move(*again).Finish();
  Require(same.has_value() && std::ranges::equal(*same, tree.bytes()));
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "index/tar_index_check.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "index/base/xxh3.h"
#include "index/index_dump.h"

namespace layerfs {
namespace {

constexpr char kEnd[] = "no more";

LayerIndexBuilder::LayerFacts FactsOf(const Index& index) {
  LayerIndexBuilder::LayerFacts facts;
  facts.diff_id = index.layers()[0].diff_id;
  facts.tar_size = index.layers()[0].tar_size;
  for (uint32_t i = 0; i < index.segment_count(); ++i) facts.segments.push_back(index.Segment(i));
  return facts;
}

Status EachLine(const Index& index, const LineSink& sink) { return DumpIndex(index, {}, sink); }

Result<std::string> LineAt(const Index& index, size_t wanted) {
  std::string found = kEnd;
  size_t number = 0;
  LAYERFS_CHECK_OK(EachLine(index, [&](std::string_view line) {
    if (number++ == wanted) found = line;
    return Status();
  }));
  return found;
}

// The first line in which two indexes differ. Bytes may differ where the lines do not: another
// version may have numbered the inodes otherwise.
Result<std::optional<std::string>> Difference(const Index& of_tar, const Index& index) {
  std::vector<uint64_t> lines;
  LAYERFS_CHECK_OK(EachLine(of_tar, [&](std::string_view line) {
    lines.push_back(Xxh3(AsBytes(line)));
    return Status();
  }));
  size_t number = 0;
  std::optional<size_t> different;
  LAYERFS_CHECK_OK(EachLine(index, [&](std::string_view line) {
    const bool same = number < lines.size() && lines[number] == Xxh3(AsBytes(line));
    if (!same && !different.has_value()) different = number;
    ++number;
    return Status();
  }));
  if (number < lines.size() && !different.has_value()) different = number;
  if (!different.has_value()) return std::nullopt;
  LAYERFS_TRY(ours, LineAt(of_tar, *different));
  LAYERFS_TRY(theirs, LineAt(index, *different));
  return "its tar has " + ours + "; its index has " + theirs;
}

}  // namespace

TarIndexCheck::TarIndexCheck()
    : parser_([this](TarEntry&& entry) { return builder_.Add(entry); }) {}

void TarIndexCheck::Feed(ByteSpan tar) {
  if (status_.has_value()) status_ = parser_.Feed(tar);
}

Result<std::optional<std::string>> TarIndexCheck::Finish(const Index& index) {
  if (status_.has_value()) status_ = parser_.Finish();
  if (!status_.has_value()) return "its tar cannot be indexed: " + status_.error().context;
  LAYERFS_TRY(bytes, builder_.Finish(FactsOf(index)));
  if (std::ranges::equal(bytes, index.bytes())) return std::nullopt;
  LAYERFS_TRY(of_tar, Index::Open(std::move(bytes)));
  return Difference(of_tar, index);
}

}  // namespace layerfs

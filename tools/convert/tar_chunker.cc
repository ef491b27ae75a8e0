// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/tar_chunker.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "index/base/xxh3.h"
#include "index/tar_header.h"

namespace layerfs {
namespace {

// One directory in four, and one entry in eight, may end a group.
constexpr uint64_t kDirectoryMask = 3;
constexpr uint64_t kEntryMask = 7;

// Entries end a group before it is so many times group_max: what goes beyond is headers without an
// entry, or padding behind the end marker, of which a tar can have any amount.
constexpr uint64_t kMaxGroups = 4;

// How far behind a group's end the tar may have come by when that end becomes known: the pieces
// that the tar comes in, and an entry's headers.
constexpr size_t kLookahead = size_t{128} << 10;

// A directory belongs to itself, so that a group ends before a directory and not behind it.
std::string_view DirectoryOf(const TarEntry& entry) {
  std::string_view path = entry.path;
  while (path.ends_with('/')) path.remove_suffix(1);
  if (entry.type == TarEntryType::kDirectory) return path;
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

bool HashSaysSo(std::string_view text, uint64_t mask) { return (Xxh3(AsBytes(text)) & mask) == 0; }

}  // namespace

TarChunker::TarChunker(const ChunkPolicy& policy, BufferPool& buffers,
                       std::function<Status(TarChunk&&)> on_chunk)
    : policy_(policy),
      buffers_(buffers),
      on_chunk_(std::move(on_chunk)),
      pending_(buffers.Take(RoomForNext())) {}

void TarChunker::Plan(const TarEntry& entry) {
  const uint64_t data_end = entry.data_offset + entry.data_size;
  const bool has_own_chunks = entry.data_size >= policy_.own_chunk_size;
  const uint64_t group_end = has_own_chunks ? entry.data_offset : AlignUp(data_end, kTarBlockSize);
  CutUnplanned(entry.data_offset);
  const uint64_t header = std::max(entry.header_offset, group_begin_);
  if (CutsBefore(entry, header, group_end)) CloseGroup(header);
  if (!has_own_chunks) return;
  CloseGroup(entry.data_offset);
  Run run{entry.data_offset, data_end, policy_.chunk_size, std::nullopt};
  if (entry.type == TarEntryType::kRegular && !entry.sparse) run.content_size = entry.data_size;
  runs_.push_back(run);
  group_begin_ = data_end;
}

bool TarChunker::CutsBefore(const TarEntry& entry, uint64_t header, uint64_t group_end) {
  const std::string_view directory = DirectoryOf(entry);
  const bool new_directory = directory != directory_;
  if (new_directory) directory_ = directory;
  const uint64_t size = header - group_begin_;
  if (group_end - group_begin_ > policy_.group_max) return true;
  if (size >= policy_.group_min && new_directory && HashSaysSo(directory, kDirectoryMask)) {
    return true;
  }
  return size >= policy_.group_target && HashSaysSo(entry.path, kEntryMask);
}

void TarChunker::CloseGroup(uint64_t end) {
  if (end == group_begin_) return;
  // Only headers and padding make a group larger than group_max.
  runs_.push_back({group_begin_, end, policy_.group_max, std::nullopt});
  group_begin_ = end;
}

void TarChunker::CutUnplanned(uint64_t known_end) {
  const uint64_t most = kMaxGroups * policy_.group_max;
  while (known_end > group_begin_ && known_end - group_begin_ >= most) {
    CloseGroup(group_begin_ + most);
  }
}

Status TarChunker::Feed(ByteSpan bytes) {
  while (true) {
    CutUnplanned(pending_end());
    LAYERFS_CHECK_OK(EmitKnown());
    if (bytes.empty()) return {};
    const std::optional<uint64_t> cut = NextCut();
    const size_t size =
        cut.has_value() ? std::min<uint64_t>(bytes.size(), *cut - pending_end()) : bytes.size();
    if (cut.has_value()) pending_.reserve(*cut - pending_begin_);
    pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    bytes = bytes.subspan(size);
  }
}

Status TarChunker::Finish() {
  CloseGroup(pending_end());
  return EmitKnown();
}

std::optional<uint64_t> TarChunker::NextCut() const {
  if (runs_.empty()) return std::nullopt;
  const Run& run = runs_.front();
  return run.end - pending_begin_ > run.step ? pending_begin_ + run.step : run.end;
}

// What it takes to hold the tar from pending_begin_ to the next cut, or to where it will be known.
size_t TarChunker::RoomForNext() const {
  const std::optional<uint64_t> cut = NextCut();
  return cut.has_value() ? *cut - pending_begin_ : policy_.group_max + kLookahead;
}

// Emits what lies before the known cuts. A cut may be known late: an entry's headers have passed by
// when the parser tells of it.
Status TarChunker::EmitKnown() {
  while (true) {
    const std::optional<uint64_t> cut = NextCut();
    if (!cut.has_value() || *cut > pending_end()) return {};
    LAYERFS_CHECK_OK(Emit(*cut));
  }
}

Status TarChunker::Emit(uint64_t end) {
  TarChunk chunk{pending_begin_, {}, std::nullopt};
  const Run run = runs_.front();
  if (chunk.tar_offset == run.begin) chunk.content_size = run.content_size;
  if (end == run.end) runs_.pop_front();
  const auto begin = pending_.begin();
  const auto rest = begin + static_cast<ptrdiff_t>(end - pending_begin_);
  const auto rest_size = static_cast<size_t>(pending_.end() - rest);
  pending_begin_ = end;
  Bytes next = buffers_.Take(std::max(rest_size, RoomForNext()));
  next.assign(rest, pending_.end());
  const auto size = static_cast<size_t>(rest - begin);
  if (size < pending_.capacity() / 2) {
    // A group that has ended early. It waits in no more room than it needs.
    chunk.data = buffers_.Take(size);
    chunk.data.assign(begin, rest);
    buffers_.Give(std::move(pending_));
  } else {
    pending_.resize(size);
    chunk.data = std::move(pending_);
  }
  pending_ = std::move(next);
  return on_chunk_(std::move(chunk));
}

}  // namespace layerfs

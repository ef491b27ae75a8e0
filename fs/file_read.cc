// SPDX-License-Identifier: Apache-2.0
#include "fs/file_read.h"

#include <algorithm>
#include <utility>

namespace layerfs {

FileRead::FileRead(std::shared_ptr<LayerFile::State> file, LayerFile::Token token, uint64_t offset,
                   LayerFile::ReadDone done)
    : file_(std::move(file)), token_(token), offset_(offset), done_(std::move(done)) {}

void FileRead::Run(size_t size) {
  const Result<uint64_t> file_size = FileSize(file_->fd());
  if (!file_size.has_value()) return Answer(Fail(file_size.error()));
  if (offset_ >= *file_size) return Answer(ByteSpan());
  buffer_.resize(std::min<uint64_t>(size, *file_size - offset_));
  const auto lower = file_->settled ? std::vector<ByteRange>()
                                    : file_->LowerRanges(offset_, offset_ + buffer_.size());
  if (lower.empty()) return Answer(Assemble());
  Fetch(lower);
}

void FileRead::Fetch(const std::vector<ByteRange>& lower) {
  std::vector<LowerFetch::Extent> extents;
  for (const ByteRange range : lower) {
    extents.push_back({range.begin, MutableByteSpan(buffer_).subspan(range.begin - offset_,
                                                                     range.end - range.begin)});
  }
  const auto fetch = std::make_shared<LowerFetch>(file_->parts.lower, std::move(extents));
  if (!file_->interrupts.Begin(token_, [fetch] { fetch->Cancel(); })) fetch->Cancel();
  fetch->Start([self = shared_from_this()](Status fetched) {
    if (!fetched.has_value()) return self->Answer(Fail(std::move(fetched).error()));
    self->Answer(self->Assemble());
  });
}

// The lower bytes are in the buffer. Pages do not become absent, and base_size does not grow: what
// the lower file shows now it showed then, and what it does not show any more is in the upper file
// by now.
Result<ByteSpan> FileRead::Assemble() {
  LAYERFS_TRY(file_size, FileSize(file_->fd()));
  if (offset_ >= file_size) return ByteSpan();
  const uint64_t end = std::min(offset_ + buffer_.size(), file_size);
  uint64_t at = offset_;
  const auto read_upper = [&](uint64_t until) -> Status {
    const uint64_t from = std::exchange(at, std::max(at, until));
    if (from >= until) return {};
    return file_->ReadUpper(from, MutableByteSpan(buffer_).subspan(from - offset_, until - from));
  };
  const auto lower = file_->settled ? std::vector<ByteRange>() : file_->LowerRanges(offset_, end);
  for (const ByteRange range : lower) {
    LAYERFS_CHECK_OK(read_upper(range.begin));
    at = range.end;
  }
  LAYERFS_CHECK_OK(read_upper(end));
  return ByteSpan(buffer_).first(end - offset_);
}

[[gnu::noinline]] void FileRead::Answer(Result<ByteSpan> result) {
  const LayerFile::ReadDone done = std::exchange(done_, nullptr);
  done(std::move(result));
}

}  // namespace layerfs

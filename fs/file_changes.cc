// SPDX-License-Identifier: Apache-2.0
#include "fs/file_changes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "fs/fail_point.h"

namespace layerfs {
namespace {

// A file that was cut and grows again must not show lower bytes after a power cut
// (partial_map.h, invariant 4).
Status BeforeGrowing(PartialMap* map, uint64_t end) {
  if (map == nullptr || end <= map->base_size()) return {};
  return map->SettleBase();
}

}  // namespace

// Such a write owns everything behind it, so that it can take the growth back.
bool WriteChange::Grows(const LayerFile::State& file, uint64_t offset, ByteSpan data,
                        LayerFile::WriteOptions options) {
  if (options.append) return true;
  const Result<uint64_t> size = FileSize(file.fd());
  return !size.has_value() || offset + data.size() > *size;
}

WriteChange::WriteChange(const StatePtr& file, Token token, uint64_t offset, ByteSpan data,
                         LayerFile::WriteOptions options, CountDone done)
    : FileChange(file, token, std::move(done), options.append ? 0 : PageOf(offset),
                 Grows(*file, offset, data, options) ? kAllPages : EndPageOf(offset + data.size())),
      range_{offset, offset + data.size()},
      data_(data),
      append_(options.append),
      owns_end_(Grows(*file, offset, data, options)) {}

void WriteChange::Keep() {
  if (!kept_.empty()) return;
  kept_.assign(data_.begin(), data_.end());
  data_ = kept_;
}

Result<ByteRange> WriteChange::Prepare() {
  LAYERFS_TRY(size, FileSize(file_->fd()));
  size_before_ = size;
  if (append_) range_ = {size, size + data_.size()};
  LAYERFS_CHECK_OK(BeforeGrowing(file_->parts.map.get(), range_.end));
  return range_;
}

// A page with the end of the lower bytes shows what lies behind them at once, but what lies below
// only once it is present: so a write over that end is made in two steps, as if it were two.
Result<size_t> WriteChange::Apply(const std::vector<Edge>& edges) {
  const uint64_t base_size = file_->parts.map == nullptr ? 0 : file_->parts.map->base_size();
  if (range_.begin >= base_size || range_.end <= base_size) return Put(range_, data_, edges);
  if (!edges.empty() && edges.back().range.end == base_size) {
    LAYERFS_CHECK_OK(PutEdge(edges.back()));
    return Put(range_, data_, {});
  }
  const size_t below = base_size - range_.begin;
  LAYERFS_TRY(first, Put({range_.begin, base_size}, data_.first(below), edges));
  if (first < below) return first;
  const Result<size_t> second = Put({base_size, range_.end}, data_.subspan(below), {});
  return second.has_value() ? below + *second : below;
}

Result<size_t> WriteChange::Put(ByteRange range, ByteSpan data, const std::vector<Edge>& edges) {
  // The lower bytes before the first written one, and behind the last: with the data, one write.
  ByteSpan head;
  ByteSpan tail;
  uint64_t start = range.begin;
  for (const Edge& edge : edges) {
    const ByteSpan bytes(edge.bytes);
    if (edge.range.begin < range.begin) {
      head = bytes.first(range.begin - edge.range.begin);
      start = edge.range.begin;
    }
    if (edge.range.end > range.end) tail = bytes.last(edge.range.end - range.end);
  }
  FailPoint("write.before_data");
  const Written written = WriteParts(file_->fd(), start, {head, data, tail});
  FailPoint("write.after_data");
  if (written.system_errno != 0)
    return PutShort(range, edges, start + written.bytes, written.system_errno);
  LAYERFS_CHECK_OK(MarkPresent(range, edges, std::max(range.end, start + written.bytes)));
  FailPoint("write.after_map");
  return data.size();
}

Result<size_t> WriteChange::PutShort(ByteRange range, const std::vector<Edge>& edges,
                                     uint64_t written_end, int system_errno) {
  LAYERFS_CHECK_OK(MarkPresent(range, edges, written_end));
  // In a page that stayed absent nothing that was written below base_size shows.
  uint64_t end = std::min(written_end, range.end);
  const uint64_t last_page = PageOf(end);
  const auto lower =
      file_->LowerRanges(last_page * kPartialPageBytes, (last_page + 1) * kPartialPageBytes);
  if (!lower.empty()) end = std::min(end, std::max(range.begin, lower.front().begin));
  end = std::max(end, range.begin);
  const uint64_t keep = std::max(size_before_, end > range.begin ? end : 0);
  LAYERFS_TRY(size, FileSize(file_->fd()));
  if (owns_end_ && size > keep && ftruncate(file_->fd(), static_cast<off_t>(keep)) != 0)
    return FailUpper(errno);
  if (end == range.begin) return FailUpper(system_errno);
  return end - range.begin;
}

TruncateChange::TruncateChange(StatePtr file, Token token, uint64_t size, CountDone done)
    : FileChange(std::move(file), token, std::move(done), PageOf(size), kAllPages), size_(size) {}

Result<size_t> TruncateChange::Apply(const std::vector<Edge>& /*edges*/) {
  PartialMap* const map = file_->parts.map.get();
  LAYERFS_CHECK_OK(BeforeGrowing(map, size_));
  FailPoint("truncate.before_upper");
  if (ftruncate(file_->fd(), static_cast<off_t>(size_)) != 0) return FailUpper(errno);
  FailPoint("truncate.after_upper");
  if (map != nullptr) LAYERFS_CHECK_OK(map->ShrinkBase(size_));
  if (size_ == 0) file_->copied_lower = false;
  FailPoint("truncate.after_map");
  return 0;
}

AllocateChange::AllocateChange(StatePtr file, Token token, int mode, uint64_t offset, uint64_t size,
                               CountDone done)
    : FileChange(std::move(file), token, std::move(done), PageOf(offset), EndPageOf(offset + size)),
      mode_(mode),
      range_{offset, offset + size} {}

Result<ByteRange> AllocateChange::Prepare() {
  if ((mode_ & FALLOC_FL_KEEP_SIZE) == 0)
    LAYERFS_CHECK_OK(BeforeGrowing(file_->parts.map.get(), range_.end));
  // Only these two change bytes.
  if ((mode_ & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) return ByteRange{};
  return range_;
}

// What it zeros of absent pages shows below base_size when they become present, and above at once:
// in two steps, as a write.
Result<size_t> AllocateChange::Apply(const std::vector<Edge>& edges) {
  for (const Edge& edge : edges) LAYERFS_CHECK_OK(PutEdge(edge));
  const uint64_t base_size = file_->parts.map == nullptr ? 0 : file_->parts.map->base_size();
  const bool zeros = (mode_ & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
  ByteRange rest = range_;
  if (zeros && rest.begin < base_size && base_size < rest.end) {
    LAYERFS_CHECK_OK(Allocate({rest.begin, base_size}));
    LAYERFS_CHECK_OK(MarkPresent({rest.begin, base_size}, edges, base_size));
    rest.begin = base_size;
  }
  LAYERFS_CHECK_OK(Allocate(rest));
  if (zeros) LAYERFS_CHECK_OK(MarkPresent(rest, edges, rest.end));
  FailPoint("allocate.after_map");
  return 0;
}

Status AllocateChange::Allocate(ByteRange range) {
  FailPoint("allocate.before_upper");
  if (fallocate(file_->fd(), mode_, static_cast<off_t>(range.begin),
                static_cast<off_t>(range.end - range.begin)) != 0)
    return FailUpper(errno);
  FailPoint("allocate.after_upper");
  return {};
}

ShiftChange::ShiftChange(StatePtr file, Token token, int mode, uint64_t offset, uint64_t size,
                         CountDone done)
    : FileChange(std::move(file), token, std::move(done), 0, kAllPages),
      mode_(mode),
      range_{offset, offset + size} {}

Result<size_t> ShiftChange::Apply(const std::vector<Edge>& /*edges*/) {
  PartialMap* const map = file_->parts.map.get();
  // Nothing is absent; with base_size 0 nothing can seem to be, wherever the bytes move.
  if (map != nullptr) {
    if (map->absent_pages() > 0) return FailUpper(EAGAIN);
    if (file_->copied_lower.exchange(false) && fdatasync(file_->fd()) != 0) return FailUpper(errno);
    LAYERFS_CHECK_OK(map->ShrinkBase(0));
    LAYERFS_CHECK_OK(map->SettleBase());
  }
  FailPoint("shift.before_upper");
  if (fallocate(file_->fd(), mode_, static_cast<off_t>(range_.begin),
                static_cast<off_t>(range_.end - range_.begin)) != 0)
    return FailUpper(errno);
  return 0;
}

FillChange::FillChange(StatePtr file, uint64_t offset, std::shared_ptr<const Bytes> bytes,
                       CountDone done)
    : FileChange(std::move(file), 0, std::move(done), PageOf(offset),
                 EndPageOf(offset + bytes->size())),
      offset_(offset),
      bytes_(std::move(bytes)) {}

Result<size_t> FillChange::Apply(const std::vector<Edge>& /*edges*/) {
  struct stat before{};
  if (fstat(file_->fd(), &before) != 0) return FailUpper(errno);
  size_t filled = 0;
  for (const ByteRange range : file_->LowerRanges(offset_, offset_ + bytes_->size())) {
    const ByteSpan bytes =
        ByteSpan(*bytes_).subspan(range.begin - offset_, range.end - range.begin);
    FailPoint("fill.before_data");
    const Written written = WriteParts(file_->fd(), range.begin, {bytes, {}, {}});
    if (written.system_errno != 0) return FailUpper(written.system_errno);
    file_->copied_lower = true;
    FailPoint("fill.after_data");
    LAYERFS_CHECK_OK(file_->parts.map->SetPresent(PageOf(range.begin), EndPageOf(range.end)));
    filled += bytes.size();
  }
  // Nobody wrote to the file: its mtime stays.
  const timespec times[2] = {{0, UTIME_OMIT}, before.st_mtim};
  if (filled > 0 && futimens(file_->fd(), times) != 0) return FailUpper(errno);
  return filled;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/tar_sparse.h"

#include <string>

#include "index/tar_header.h"

namespace layerfs {
namespace {

constexpr size_t kSlotSize = 24;
constexpr size_t kSlotNumber = 12;
constexpr int kMaxDigits = 19;  // 10^19 - 1 fits 64 bits

Status TooManyRuns(uint64_t limit) {
  return Fail(ErrorCode::kTooLarge,
              "sparse map: more than " + std::to_string(limit) + " runs of data");
}

std::unexpected<Error> BadMap(std::string_view what) {
  return Fail(ErrorCode::kCorrupt, "sparse map: " + std::string(what));
}

}  // namespace

Status AppendOldGnuSlots(ByteSpan slots, uint64_t limit, SparseMap& map) {
  for (; slots.size() >= kSlotSize; slots = slots.subspan(kSlotSize)) {
    if (slots[0] == 0) return {};
    const std::optional<int64_t> offset = ParseTarNumber(slots.first(kSlotNumber));
    const std::optional<int64_t> size = ParseTarNumber(slots.subspan(kSlotNumber, kSlotNumber));
    if (!offset.has_value() || !size.has_value() || *offset < 0 || *size < 0) {
      return BadMap("not a number or out of range");
    }
    if (map.size() >= limit) return TooManyRuns(limit);
    map.emplace_back(static_cast<uint64_t>(*offset), static_cast<uint64_t>(*size));
  }
  return {};
}

Status SparseMapReader::TakeNumber() {
  if (digits_ == 0) return BadMap("an empty line");
  if (!expected_runs_.has_value()) {
    if (number_ > limit_) return TooManyRuns(limit_);
    expected_runs_ = number_;
  } else if (!offset_.has_value()) {
    offset_ = number_;
  } else {
    map_.emplace_back(*offset_, number_);
    offset_.reset();
  }
  number_ = 0;
  digits_ = 0;
  return {};
}

Result<bool> SparseMapReader::Feed(ByteSpan block) {
  for (const uint8_t byte : block) {
    if (byte == '\n') {
      LAYERFS_CHECK_OK(TakeNumber());
      if (map_.size() == *expected_runs_) return true;
    } else if (byte >= '0' && byte <= '9' && digits_ < kMaxDigits) {
      number_ = number_ * 10 + (byte - '0');
      ++digits_;
    } else {
      return BadMap("not a number or out of range");
    }
  }
  return false;
}

Result<std::vector<DataExtent>> LaySparseMap(const SparseMap& map, SparseShape shape) {
  std::vector<DataExtent> extents;
  extents.reserve(map.size());
  uint64_t previous_end = 0;
  uint64_t data_used = 0;
  for (const auto& [offset, size] : map) {
    if (offset < previous_end) return BadMap("runs are out of order or overlap");
    if (!RangeFits(offset, size, shape.real_size))
      return BadMap("a run ends behind the file's end");
    if (!RangeFits(data_used, size, shape.data_size)) {
      return BadMap("the runs are longer than the payload");
    }
    if (size != 0) extents.push_back({offset, shape.data_offset + data_used, size});
    previous_end = offset + size;
    data_used += size;
  }
  if (data_used != shape.data_size) return BadMap("the runs are shorter than the payload");
  return extents;
}

}  // namespace layerfs

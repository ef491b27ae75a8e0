// SPDX-License-Identifier: Apache-2.0
// TarParser over any bytes. Invariants: entries lie inside what was fed and in order, sparse maps
// fit their files, and the same bytes in pieces give the same outcome.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "index/tar_parser.h"

namespace {

using layerfs::ByteSpan;
using layerfs::DataExtent;
using layerfs::Status;
using layerfs::TarEntry;
using layerfs::TarParser;

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckEntry(const TarEntry& entry, uint64_t previous_end, uint64_t offset) {
  Require(entry.header_offset >= previous_end);
  Require(entry.data_offset == offset && offset % 512 == 0);
  Require(entry.path.find('\0') == std::string::npos);
  Require(entry.link_target.find('\0') == std::string::npos);
  Require(entry.permissions <= 07777);
  Require(entry.mtime.nanoseconds < 1'000'000'000);
  Require(entry.data_size <= INT64_MAX - entry.data_offset);
  uint64_t file_end = 0;
  uint64_t tar_end = entry.data_offset;
  for (const DataExtent& extent : entry.extents) {
    Require(extent.size > 0 && extent.file_offset >= file_end && extent.tar_offset == tar_end);
    file_end = extent.file_offset + extent.size;
    tar_end = extent.tar_offset + extent.size;
  }
  Require(file_end <= entry.size);
  Require(!entry.sparse || tar_end == entry.data_offset + entry.data_size);
}

struct Outcome {
  size_t entries = 0;
  size_t names = 0;
  std::string error;
  bool operator==(const Outcome&) const = default;
};

// Fed in pieces of 1, 2, … `largest_piece` bytes in turn; 0: as a whole.
Outcome Parse(ByteSpan tar, size_t largest_piece) {
  Outcome outcome;
  uint64_t previous_end = 0;
  TarParser* feeding = nullptr;
  TarParser parser([&](TarEntry&& entry) -> Status {
    CheckEntry(entry, previous_end, feeding->offset());
    previous_end = entry.data_offset + entry.data_size;
    ++outcome.entries;
    outcome.names += entry.path.size() + entry.link_target.size() + entry.xattrs.size();
    return {};
  });
  feeding = &parser;
  size_t piece = 0;
  Status status;
  while (status.has_value() && !tar.empty()) {
    piece = piece >= largest_piece ? 1 : piece + 1;
    const size_t size = largest_piece == 0 ? tar.size() : std::min(piece, tar.size());
    status = parser.Feed(tar.first(size));
    tar = tar.subspan(size);
  }
  if (status.has_value()) status = parser.Finish();
  if (!status.has_value()) outcome.error = ErrorCodeName(status.error().code);
  return outcome;
}

// A fuzzer does not guess checksums: gives every block that may be a header the right one.
std::vector<uint8_t> WithChecksums(ByteSpan tar) {
  constexpr size_t kBlock = 512;
  constexpr size_t kChecksum = 148;
  constexpr size_t kChecksumSize = 8;
  std::vector<uint8_t> mended(tar.begin(), tar.end());
  for (size_t at = 0; at + kBlock <= mended.size(); at += kBlock) {
    uint8_t* const block = mended.data() + at;
    if (block[kChecksum] != '0') continue;
    std::fill_n(block + kChecksum, kChecksumSize, ' ');
    unsigned sum = std::accumulate(block, block + kBlock, 0U);
    block[kChecksum + 6] = 0;
    for (size_t digit = 6; digit-- > 0; sum /= 8) block[kChecksum + digit] = '0' + sum % 8;
  }
  return mended;
}

void Check(ByteSpan tar) {
  const Outcome whole = Parse(tar, 0);
  Require(whole == Parse(tar, 700));
  constexpr size_t kSmall = 8192;  // byte by byte is slow
  if (tar.size() < kSmall) Require(whole == Parse(tar, 1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteSpan tar(data, size);
  Check(tar);
  Check(WithChecksums(tar));
  return 0;
}

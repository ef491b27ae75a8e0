// SPDX-License-Identifier: Apache-2.0
#include "index/index_codec.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "index/index_layout.h"
#include "index/index_sections.h"

namespace layerfs {
namespace {

using layout::DirentRecord;
using layout::InodeRecord;

// Payloads begin at blocks of the tar, a header block behind the payload before.
constexpr uint64_t kTarBlock = 512;

uint32_t Zigzag(uint32_t difference) { return (difference << 1) ^ (0 - (difference >> 31)); }
uint64_t Zigzag(uint64_t difference) { return (difference << 1) ^ (0 - (difference >> 63)); }
uint32_t Unzigzag(uint32_t value) { return (value >> 1) ^ (0 - (value & 1)); }
uint64_t Unzigzag(uint64_t value) { return (value >> 1) ^ (0 - (value & 1)); }

// Both directions walk the same records in the same order; each sees the true ones.
enum class Direction { kEncode, kDecode };

// Replaces `field` by how far it is from `expected`, or the other way round; returns the true one.
template <typename T>
T Code(Direction direction, T& field, T expected) {
  if (direction == Direction::kEncode) {
    const T value = field;
    field = Zigzag(static_cast<T>(value - expected));
    return value;
  }
  field = static_cast<T>(expected + Unzigzag(field));
  return field;
}

class InodePredictor {
 public:
  void Apply(Direction direction, InodeRecord& inode) {
    switch (inode.mode & S_IFMT) {
      case S_IFDIR: {
        parent_ = Code(direction, inode.parent, parent_);
        uint32_t first = layout::FirstEntry(inode);
        const uint32_t count = layout::EntryCount(inode);
        entries_end_ = Code(direction, first, entries_end_) + count;
        inode.location = layout::PackEntries(first, count);
        break;
      }
      case 0:
      case S_IFLNK:
        targets_end_ = Code(direction, inode.location, targets_end_) + inode.size;
        break;
      case S_IFREG:
        if (inode.size == 0 || inode.sparse_set != 0) break;
        next_payload_ =
            AlignUp(Code(direction, inode.location, next_payload_) + inode.size, kTarBlock) +
            kTarBlock;
        break;
      default:
        break;
    }
  }

 private:
  uint32_t parent_ = 0;
  uint32_t entries_end_ = 0;
  uint64_t targets_end_ = 0;
  uint64_t next_payload_ = 0;
};

class DirentPredictor {
 public:
  void Apply(Direction direction, DirentRecord& dirent) {
    names_end_ = Code(direction, dirent.name_offset, names_end_) + dirent.name_size;
    next_inode_ = Code(direction, dirent.inode, next_inode_) + 1;
  }

 private:
  uint32_t names_end_ = 0;
  uint32_t next_inode_ = 0;
};

// Plane p holds byte p of every record: for little-endian fields that follow each other this is
// FORMAT.md's "column by column, plane by plane". A block of records at a time, so that both
// sides stay in the processor's cache.
constexpr size_t kBlock = 256;

template <typename Record, typename Predictor>
void Arrange(ByteSpan records, MutableByteSpan planes) {
  const size_t count = layout::Count<Record>(records);
  Predictor predictor;
  std::array<Record, kBlock> block;
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t n = std::min(kBlock, count - first);
    std::memcpy(block.data(), records.data() + first * sizeof(Record), n * sizeof(Record));
    for (size_t i = 0; i < n; ++i) predictor.Apply(Direction::kEncode, block[i]);
    const auto* const bytes = reinterpret_cast<const uint8_t*>(block.data());
    for (size_t plane = 0; plane < sizeof(Record); ++plane) {
      uint8_t* const to = planes.data() + plane * count + first;
      for (size_t i = 0; i < n; ++i) to[i] = bytes[i * sizeof(Record) + plane];
    }
  }
}

template <typename Record, typename Predictor>
void ArrangeBack(ByteSpan planes, MutableByteSpan records) {
  const size_t count = layout::Count<Record>(planes);
  Predictor predictor;
  std::array<Record, kBlock> block;
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t n = std::min(kBlock, count - first);
    auto* const bytes = reinterpret_cast<uint8_t*>(block.data());
    for (size_t plane = 0; plane < sizeof(Record); ++plane) {
      const uint8_t* const from = planes.data() + plane * count + first;
      for (size_t i = 0; i < n; ++i) bytes[i * sizeof(Record) + plane] = from[i];
    }
    for (size_t i = 0; i < n; ++i) predictor.Apply(Direction::kDecode, block[i]);
    std::memcpy(records.data() + first * sizeof(Record), block.data(), n * sizeof(Record));
  }
}

// The part of `to` that lies where `section`, a part of `from`, lies in it.
MutableByteSpan Counterpart(ByteSpan section, ByteSpan from, MutableByteSpan to) {
  return to.subspan(static_cast<size_t>(section.data() - from.data()), section.size());
}

}  // namespace

Result<Bytes> EncodeIndex(Bytes index) {
  LAYERFS_TRY(parsed, ParseSections(index));
  const layout::Sections& sections = parsed.sections;
  const auto arrange = [&index]<typename Record, typename Predictor>(ByteSpan section) {
    const Bytes records(section.begin(), section.end());
    Arrange<Record, Predictor>(records, Counterpart(section, index, index));
  };
  arrange.operator()<InodeRecord, InodePredictor>(sections.inodes);
  arrange.operator()<DirentRecord, DirentPredictor>(sections.dirents);
  return index;
}

Result<Bytes> EncodeIndex(ByteSpan index) { return EncodeIndex(Bytes(index.begin(), index.end())); }

Result<Bytes> DecodeIndex(ByteSpan arranged) {
  Bytes index(arranged.size());
  LAYERFS_CHECK_OK(DecodeIndex(arranged, index));
  return index;
}

Status DecodeIndex(ByteSpan arranged, MutableByteSpan index) {
  LAYERFS_TRY(parsed, ParseSections(arranged));
  const layout::Sections& sections = parsed.sections;
  std::ranges::copy(arranged, index.begin());
  ArrangeBack<InodeRecord, InodePredictor>(sections.inodes,
                                           Counterpart(sections.inodes, arranged, index));
  ArrangeBack<DirentRecord, DirentPredictor>(sections.dirents,
                                             Counterpart(sections.dirents, arranged, index));
  return {};
}

}  // namespace layerfs

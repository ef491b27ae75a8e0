// SPDX-License-Identifier: Apache-2.0
// The bytes of the index format, version 1: the one file of code that knows them. FORMAT.md is
// normative; the names here are its names. Records are plain little-endian structs without padding,
// copied out of a section with Load.
// Thread-safe: constants and values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "index/base/bytes.h"
#include "index/base/xxh3.h"

namespace layerfs::layout {

inline constexpr std::array<char, 8> kMagic = {'L', 'A', 'Y', 'E', 'R', 'F', 'S', 'I'};
inline constexpr uint32_t kVersion = 1;
// No feature bits are defined yet; a reader refuses any incompat bit outside this mask.
inline constexpr uint64_t kKnownIncompat = 0;
// A cache line, so that an inode is one.
inline constexpr uint64_t kSectionAlignment = 64;
inline constexpr uint32_t kMaxSections = 64;
inline constexpr uint16_t kMaxNameBytes = 255;
// What readlink can answer over FUSE: a page, less the NUL (fs/fuse/dir.c, fuse_readlink_page).
inline constexpr uint64_t kMaxTargetBytes = 4095;
// An unresolved link is a path in a tar, not something that a process asks for.
inline constexpr uint64_t kMaxLinkPathBytes = 65535;
inline constexpr uint32_t kMaxXattrValueBytes = 65536;  // XATTR_SIZE_MAX, linux/limits.h
inline constexpr uint32_t kMaxLayers = 4096;

enum class SectionId : uint32_t {
  kLayers = 1,
  kInodes = 2,
  kDirents = 3,
  kNames = 4,
  kTargets = 5,
  kXattrSets = 6,
  kXattrs = 7,
  kXattrBytes = 8,
  kSparseSets = 9,
  kSparseExtents = 10,
  kSegments = 11,
};
inline constexpr uint32_t kSectionCount = 11;  // of version 1; unknown ones are passed over

struct Header {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t kind;
  uint64_t compat;
  uint64_t incompat;
  uint64_t file_size;
  uint32_t section_count;
  uint32_t zero0;
  uint64_t zero1;
  uint64_t checksum;  // see HeaderChecksum
};
static_assert(sizeof(Header) == 64);

struct SectionRecord {
  uint32_t id;
  uint32_t record_size;
  uint64_t offset;
  uint64_t size;
  uint64_t checksum;  // XXH3 of the section
};
static_assert(sizeof(SectionRecord) == 32);

struct LayerRecord {
  std::array<uint8_t, 32> blob;
  uint64_t blob_size;
  std::array<uint8_t, 32> diff_id;
  uint64_t tar_size;
  uint32_t first_segment;
  uint32_t segment_count;
  uint64_t zero;
};
static_assert(sizeof(LayerRecord) == 96);

inline constexpr uint16_t kFlagImplicit = 1 << 0;
inline constexpr uint16_t kFlagOpaque = 1 << 1;
inline constexpr uint16_t kFlagUnresolvedLink = 1 << 2;
inline constexpr uint16_t kKnownInodeFlags = kFlagImplicit | kFlagOpaque | kFlagUnresolvedLink;

struct InodeRecord {
  uint16_t mode;
  uint16_t flags;
  uint32_t uid;
  uint32_t gid;
  uint32_t nlink;
  int64_t mtime_seconds;
  uint32_t mtime_nanoseconds;
  uint32_t xattr_set;  // 0: none; n: record n - 1 of XATTR_SETS
  uint64_t size;
  uint64_t location;  // by type: an offset, or see the functions below
  uint32_t parent;
  uint16_t layer;
  uint16_t zero0;
  uint32_t sparse_set;  // 0: none; n: record n - 1 of SPARSE_SETS
  uint32_t zero1;
};
static_assert(sizeof(InodeRecord) == 64);

// Directories: the first of their entries in the low half, how many in the high half.
constexpr uint64_t PackEntries(uint32_t first, uint32_t count) {
  return uint64_t{count} << 32 | first;
}
constexpr uint32_t FirstEntry(const InodeRecord& inode) {
  return static_cast<uint32_t>(inode.location);
}
constexpr uint32_t EntryCount(const InodeRecord& inode) {
  return static_cast<uint32_t>(inode.location >> 32);
}
// Devices: the major number in the high half, the minor in the low half.
constexpr uint64_t PackDevice(uint32_t major, uint32_t minor) {
  return uint64_t{major} << 32 | minor;
}

struct DirentRecord {
  uint32_t name_offset;  // in NAMES
  uint32_t inode;        // 0: whiteout
  uint16_t name_size;
  uint16_t zero;
};
static_assert(sizeof(DirentRecord) == 12);

struct SetRecord {  // XATTR_SETS and SPARSE_SETS: a run of records of the next section
  uint32_t first;
  uint32_t count;
};
static_assert(sizeof(SetRecord) == 8);

struct XattrRecord {
  uint32_t name_offset;  // both in XATTR_BYTES
  uint32_t value_offset;
  uint32_t value_size;
  uint16_t name_size;
  uint16_t zero;
};
static_assert(sizeof(XattrRecord) == 16);

struct SparseExtentRecord {
  uint64_t file_offset;
  uint64_t tar_offset;
  uint64_t size;
};
static_assert(sizeof(SparseExtentRecord) == 24);

struct SegmentRecord {
  std::array<uint8_t, 32> digest;
  uint64_t blob_offset;
  uint64_t tar_begin;
  uint64_t tar_end;
  uint32_t stored_size;
  uint32_t size;
  uint16_t layer;
  uint8_t codec;
  std::array<uint8_t, 5> zero;
};
static_assert(sizeof(SegmentRecord) == 72);

// The record at `position`; the caller has checked that it is inside the section.
template <typename Record>
Record Load(ByteSpan section, uint64_t position) {
  static_assert(std::is_trivially_copyable_v<Record>);
  Record record;
  std::memcpy(&record, section.data() + position * sizeof(Record), sizeof(Record));
  return record;
}

template <typename Record>
ByteSpan AsRecordBytes(const Record& record) {
  static_assert(std::is_trivially_copyable_v<Record>);
  return {reinterpret_cast<const uint8_t*>(&record), sizeof(Record)};
}

// Covers the header up to its checksum, and the section table.
inline uint64_t HeaderChecksum(const Header& header, ByteSpan table) {
  const ByteSpan head = AsRecordBytes(header).first(offsetof(Header, checksum));
  Bytes covered(head.begin(), head.end());
  covered.insert(covered.end(), table.begin(), table.end());
  return Xxh3(covered);
}

// The sections of one index, by name; views of its bytes.
struct Sections {
  ByteSpan layers;
  ByteSpan inodes;
  ByteSpan dirents;
  ByteSpan names;
  ByteSpan targets;
  ByteSpan xattr_sets;
  ByteSpan xattrs;
  ByteSpan xattr_bytes;
  ByteSpan sparse_sets;
  ByteSpan sparse_extents;
  ByteSpan segments;
};

// What each section is made of, in the order of their ids, which is that in the index.
struct SectionSpec {
  SectionId id;
  const char* name;
  uint32_t record_size;
  ByteSpan Sections::* view;
};
inline constexpr std::array<SectionSpec, kSectionCount> kSectionSpecs = {{
    {SectionId::kLayers, "LAYERS", sizeof(LayerRecord), &Sections::layers},
    {SectionId::kInodes, "INODES", sizeof(InodeRecord), &Sections::inodes},
    {SectionId::kDirents, "DIRENTS", sizeof(DirentRecord), &Sections::dirents},
    {SectionId::kNames, "NAMES", 1, &Sections::names},
    {SectionId::kTargets, "TARGETS", 1, &Sections::targets},
    {SectionId::kXattrSets, "XATTR_SETS", sizeof(SetRecord), &Sections::xattr_sets},
    {SectionId::kXattrs, "XATTRS", sizeof(XattrRecord), &Sections::xattrs},
    {SectionId::kXattrBytes, "XATTR_BYTES", 1, &Sections::xattr_bytes},
    {SectionId::kSparseSets, "SPARSE_SETS", sizeof(SetRecord), &Sections::sparse_sets},
    {SectionId::kSparseExtents, "SPARSE_EXTENTS", sizeof(SparseExtentRecord),
     &Sections::sparse_extents},
    {SectionId::kSegments, "SEGMENTS", sizeof(SegmentRecord), &Sections::segments},
}};

template <typename Record>
uint64_t Count(ByteSpan section) {
  return section.size() / sizeof(Record);
}

}  // namespace layerfs::layout

// SPDX-License-Identifier: Apache-2.0
#include "index/index.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cassert>

#include "index/index_layout.h"
#include "index/index_validate.h"

namespace layerfs {

using layout::Load;

struct Index::State {
  Bytes owned;
  MappedFile mapped;
  ByteSpan bytes;  // of the one of the two that holds the index
  layout::Sections sections;
  IndexKind kind = IndexKind::kTree;
  uint64_t total_file_bytes = 0;
  std::vector<LayerInfo> layers;

  layout::InodeRecord LoadInode(InodeNumber inode) const {
    assert(ToUint(inode) != 0 &&
           ToUint(inode) < layout::Count<layout::InodeRecord>(sections.inodes));
    return Load<layout::InodeRecord>(sections.inodes, ToUint(inode));
  }
  Dirent EntryAt(uint64_t position) const {
    const auto dirent = Load<layout::DirentRecord>(sections.dirents, position);
    return Dirent{AsText(sections.names.subspan(dirent.name_offset, dirent.name_size)),
                  InodeNumber{dirent.inode}};
  }
  Xattr XattrAt(uint64_t position) const {
    const auto xattr = Load<layout::XattrRecord>(sections.xattrs, position);
    return Xattr{AsText(sections.xattr_bytes.subspan(xattr.name_offset, xattr.name_size)),
                 AsText(sections.xattr_bytes.subspan(xattr.value_offset, xattr.value_size))};
  }

  static Result<std::unique_ptr<State>> Make(std::unique_ptr<State> state) {
    LAYERFS_TRY(validated, ValidateIndex(state->bytes));
    state->sections = validated.sections;
    state->kind = validated.kind;
    state->total_file_bytes = validated.total_file_bytes;
    const uint64_t layers = layout::Count<layout::LayerRecord>(validated.sections.layers);
    for (uint64_t i = 0; i < layers; ++i) {
      const auto record = Load<layout::LayerRecord>(validated.sections.layers, i);
      state->layers.push_back(LayerInfo{Digest{record.blob}, record.blob_size,
                                        Digest{record.diff_id}, record.tar_size,
                                        record.first_segment, record.segment_count});
    }
    return state;
  }
};

Result<Index> Index::Open(Bytes bytes) {
  auto state = std::make_unique<State>();
  state->owned = std::move(bytes);
  state->bytes = state->owned;
  LAYERFS_TRY(made, State::Make(std::move(state)));
  return Index(std::move(made));
}

Result<Index> Index::Open(MappedFile file) {
  auto state = std::make_unique<State>();
  state->mapped = std::move(file);
  state->bytes = state->mapped.bytes();
  LAYERFS_TRY(made, State::Make(std::move(state)));
  made->mapped.DropResident();
  return Index(std::move(made));
}

Index::Index(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

IndexKind Index::kind() const { return state_->kind; }
ByteSpan Index::bytes() const { return state_->bytes; }

uint32_t Index::inode_count() const {
  return static_cast<uint32_t>(layout::Count<layout::InodeRecord>(state_->sections.inodes) - 1);
}

bool Index::Contains(InodeNumber inode) const {
  return ToUint(inode) >= 1 && ToUint(inode) <= inode_count();
}

Inode Index::Get(InodeNumber number) const {
  const auto record = state_->LoadInode(number);
  Inode inode;
  inode.mode = record.mode;
  inode.uid = record.uid;
  inode.gid = record.gid;
  inode.nlink = record.nlink;
  inode.mtime = Timestamp{record.mtime_seconds, record.mtime_nanoseconds};
  inode.implicit = (record.flags & layout::kFlagImplicit) != 0;
  inode.opaque = (record.flags & layout::kFlagOpaque) != 0;
  inode.unresolved_link = (record.flags & layout::kFlagUnresolvedLink) != 0;
  switch (record.mode & S_IFMT) {
    case S_IFDIR:
      inode.parent = InodeNumber{record.parent};
      inode.entry_count = layout::EntryCount(record);
      break;
    case S_IFREG:
      inode.size = record.size;
      inode.layer = LayerNumber{record.layer};
      inode.data_offset = record.location;
      break;
    case S_IFLNK:
      inode.size = record.size;
      break;
    case S_IFCHR:
    case S_IFBLK:
      inode.rdev = makedev(static_cast<uint32_t>(record.location >> 32),
                           static_cast<uint32_t>(record.location));
      break;
    default:
      break;
  }
  return inode;
}

std::string_view Index::Target(InodeNumber inode) const {
  const auto record = state_->LoadInode(inode);
  const bool link = S_ISLNK(record.mode) || (record.flags & layout::kFlagUnresolvedLink) != 0;
  return link ? AsText(state_->sections.targets.subspan(record.location, record.size))
              : std::string_view();
}

Dirent Index::EntryAt(InodeNumber directory, uint32_t position) const {
  const auto record = state_->LoadInode(directory);
  assert(S_ISDIR(record.mode) && position < layout::EntryCount(record));
  return state_->EntryAt(uint64_t{layout::FirstEntry(record)} + position);
}

std::optional<Dirent> Index::Lookup(InodeNumber directory, std::string_view name) const {
  const auto record = state_->LoadInode(directory);
  if (!S_ISDIR(record.mode)) return std::nullopt;
  uint64_t low = layout::FirstEntry(record);
  const uint64_t end = low + layout::EntryCount(record);
  uint64_t high = end;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (state_->EntryAt(middle).name < name) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == end) return std::nullopt;
  const Dirent found = state_->EntryAt(low);
  if (found.name != name) return std::nullopt;
  return found;
}

std::vector<Xattr> Index::Xattrs(InodeNumber inode) const {
  const auto record = state_->LoadInode(inode);
  std::vector<Xattr> xattrs;
  if (record.xattr_set == 0) return xattrs;
  const auto set = Load<layout::SetRecord>(state_->sections.xattr_sets, record.xattr_set - 1);
  xattrs.reserve(set.count);
  for (uint64_t i = set.first; i < uint64_t{set.first} + set.count; ++i) {
    xattrs.push_back(state_->XattrAt(i));
  }
  return xattrs;
}

bool Index::HasXattrs(InodeNumber inode) const { return state_->LoadInode(inode).xattr_set != 0; }

std::optional<std::string_view> Index::FindXattr(InodeNumber inode, std::string_view name) const {
  const auto record = state_->LoadInode(inode);
  if (record.xattr_set == 0) return std::nullopt;
  const auto set = Load<layout::SetRecord>(state_->sections.xattr_sets, record.xattr_set - 1);
  for (uint64_t i = set.first; i < uint64_t{set.first} + set.count; ++i) {
    const Xattr xattr = state_->XattrAt(i);
    if (xattr.name == name) return xattr.value;
  }
  return std::nullopt;
}

bool Index::HasXattrNamed(std::string_view name) const {
  const size_t count = layout::Count<layout::XattrRecord>(state_->sections.xattrs);
  for (size_t i = 0; i < count; ++i) {
    if (state_->XattrAt(i).name == name) return true;
  }
  return false;
}

bool Index::IsSparse(InodeNumber inode) const {
  const auto record = state_->LoadInode(inode);
  return S_ISREG(record.mode) && record.sparse_set != 0;
}

std::vector<DataExtent> Index::DataExtents(InodeNumber inode, uint64_t offset,
                                           uint64_t size) const {
  const auto record = state_->LoadInode(inode);
  std::vector<DataExtent> extents;
  if (!S_ISREG(record.mode) || offset >= record.size || size == 0) return extents;
  const uint64_t end = offset + std::min(size, record.size - offset);
  if (record.sparse_set == 0) {
    extents.push_back(DataExtent{offset, record.location + offset, end - offset});
    return extents;
  }
  const auto set = Load<layout::SetRecord>(state_->sections.sparse_sets, record.sparse_set - 1);
  uint64_t low = set.first;
  uint64_t high = uint64_t{set.first} + set.count;
  const uint64_t set_end = high;
  while (low < high) {  // The first extent that ends behind `offset`.
    const uint64_t middle = low + (high - low) / 2;
    const auto extent = Load<layout::SparseExtentRecord>(state_->sections.sparse_extents, middle);
    if (extent.file_offset + extent.size <= offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (uint64_t i = low; i < set_end; ++i) {
    const auto extent = Load<layout::SparseExtentRecord>(state_->sections.sparse_extents, i);
    if (extent.file_offset >= end) break;
    const uint64_t from = std::max(extent.file_offset, offset);
    const uint64_t to = std::min(extent.file_offset + extent.size, end);
    extents.push_back(DataExtent{from, extent.tar_offset + (from - extent.file_offset), to - from});
  }
  return extents;
}

uint64_t Index::DataBytes(InodeNumber inode) const {
  const auto record = state_->LoadInode(inode);
  if (!S_ISREG(record.mode)) return 0;
  if (record.sparse_set == 0) return record.size;
  const auto set = Load<layout::SetRecord>(state_->sections.sparse_sets, record.sparse_set - 1);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < std::min(set.count, kMaxCountedRuns); ++i) {
    bytes +=
        Load<layout::SparseExtentRecord>(state_->sections.sparse_extents, uint64_t{set.first} + i)
            .size;
  }
  return bytes;
}

std::span<const LayerInfo> Index::layers() const { return state_->layers; }

uint32_t Index::segment_count() const {
  return static_cast<uint32_t>(layout::Count<layout::SegmentRecord>(state_->sections.segments));
}

SegmentRef Index::Segment(uint32_t number) const {
  assert(number < segment_count());
  const auto record = Load<layout::SegmentRecord>(state_->sections.segments, number);
  SegmentRef segment;
  segment.ref = ChunkRef{Digest{record.digest}, record.blob_offset, record.stored_size, record.size,
                         static_cast<ChunkCodec>(record.codec)};
  segment.layer = LayerNumber{record.layer};
  segment.tar_begin = record.tar_begin;
  segment.tar_end = record.tar_end;
  return segment;
}

std::optional<uint32_t> Index::FindSegment(LayerNumber layer, uint64_t tar_offset) const {
  if (ToUint(layer) >= state_->layers.size()) return std::nullopt;
  const LayerInfo& info = state_->layers[ToUint(layer)];
  uint32_t low = info.first_segment;
  const uint32_t end = info.first_segment + info.segment_count;
  uint32_t high = end;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (Load<layout::SegmentRecord>(state_->sections.segments, middle).tar_end <= tar_offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == end) return std::nullopt;
  return low;
}

uint64_t Index::total_file_bytes() const { return state_->total_file_bytes; }

void Index::DropResident() const { state_->mapped.DropResident(); }

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/index_validate.h"

#include <sys/stat.h>

#include <cstring>
#include <string>
#include <vector>

namespace layerfs {
namespace {

using layout::Count;
using layout::Load;

bool Contains(ByteSpan section, char byte) {
  return !section.empty() && std::memchr(section.data(), byte, section.size()) != nullptr;
}

// Everything but inodes and entries: what they refer to.
class ReferredTables {
 public:
  ReferredTables(const layout::Sections& sections, bool is_tree)
      : sections_(sections), is_tree_(is_tree) {}

  Status Check() const {
    LAYERFS_CHECK_OK(CheckLayers());
    if (Contains(sections_.names, '\0') || Contains(sections_.names, '/')) {
      return Fail(BrokenIndex("NAMES", "a NUL or a slash"));
    }
    if (Contains(sections_.targets, '\0')) return Fail(BrokenIndex("TARGETS", "a NUL"));
    LAYERFS_CHECK_OK(CheckSets("XATTR_SETS", sections_.xattr_sets,
                               Count<layout::XattrRecord>(sections_.xattrs),
                               &ReferredTables::CheckXattrSet));
    return CheckSets("SPARSE_SETS", sections_.sparse_sets,
                     Count<layout::SparseExtentRecord>(sections_.sparse_extents),
                     &ReferredTables::CheckSparseSet);
  }

 private:
  Status CheckLayers() const {
    const uint64_t layers = Count<layout::LayerRecord>(sections_.layers);
    const uint64_t segments = Count<layout::SegmentRecord>(sections_.segments);
    if (layers > layout::kMaxLayers || (!is_tree_ && layers != 1)) {
      return Fail(BrokenIndex("LAYERS", std::to_string(layers) + " layers"));
    }
    uint64_t next_segment = 0;
    for (uint64_t i = 0; i < layers; ++i) {
      const auto layer = Load<layout::LayerRecord>(sections_.layers, i);
      if (layer.zero != 0 || layer.tar_size > INT64_MAX || layer.blob_size > INT64_MAX) {
        return Fail(BrokenRecord("LAYERS", i, "sizes or reserved bytes"));
      }
      if (!is_tree_ && (layer.blob_size != 0 || !Digest{layer.blob}.is_zero())) {
        return Fail(BrokenRecord("LAYERS", i, "a layer index that names a blob"));
      }
      if (layer.first_segment != next_segment || layer.segment_count > segments - next_segment) {
        return Fail(BrokenRecord("LAYERS", i, "segments"));
      }
      next_segment += layer.segment_count;
      LAYERFS_CHECK_OK(CheckSegments(i, layer));
    }
    if (next_segment != segments) return Fail(BrokenIndex("SEGMENTS", "some belong to no layer"));
    return {};
  }

  Status CheckSegments(uint64_t layer_number, const layout::LayerRecord& layer) const {
    const uint64_t blob_limit = is_tree_ ? layer.blob_size : INT64_MAX;
    uint64_t covered = 0;
    for (uint64_t i = 0; i < layer.segment_count; ++i) {
      const uint64_t number = layer.first_segment + i;
      const auto segment = Load<layout::SegmentRecord>(sections_.segments, number);
      if (segment.layer != layer_number) {
        return Fail(BrokenRecord("SEGMENTS", number, "of another layer"));
      }
      if (segment.tar_begin != covered || segment.tar_end <= covered ||
          segment.tar_end > layer.tar_size) {
        return Fail(BrokenRecord("SEGMENTS", number, "tar range"));
      }
      covered = segment.tar_end;
      if (segment.size == 0 || segment.size > kMaxChunkBytes || segment.stored_size == 0 ||
          segment.stored_size > kMaxChunkBytes ||
          !RangeFits(segment.blob_offset, segment.stored_size, blob_limit)) {
        return Fail(BrokenRecord("SEGMENTS", number, "size or place in the blob"));
      }
      if (segment.codec > static_cast<uint8_t>(ChunkCodec::kZstdFrame) ||
          segment.zero != decltype(segment.zero){}) {
        return Fail(BrokenRecord("SEGMENTS", number, "codec or reserved bytes"));
      }
    }
    return {};
  }

  // The sets of `sets` cut `records` records into runs, each of which `check` is called for.
  Status CheckSets(std::string_view name, ByteSpan sets, uint64_t records,
                   Status (ReferredTables::*check)(layout::SetRecord) const) const {
    uint64_t next = 0;
    for (uint64_t i = 0; i < Count<layout::SetRecord>(sets); ++i) {
      const auto set = Load<layout::SetRecord>(sets, i);
      if (set.first != next || set.count > records - next) {
        return Fail(BrokenRecord(name, i, "does not follow the set before it"));
      }
      next += set.count;
      LAYERFS_CHECK_OK((this->*check)(set));
    }
    if (next != records) return Fail(BrokenIndex(name, "records that belong to no set"));
    return {};
  }

  Status CheckXattrSet(layout::SetRecord set) const {
    if (set.count == 0) return Fail(BrokenRecord("XATTRS", set.first, "an empty set"));
    std::string_view last;
    for (uint64_t i = set.first; i < uint64_t{set.first} + set.count; ++i) {
      const auto xattr = Load<layout::XattrRecord>(sections_.xattrs, i);
      const ByteSpan bytes = sections_.xattr_bytes;
      if (xattr.name_size == 0 || xattr.name_size > layout::kMaxNameBytes || xattr.zero != 0 ||
          xattr.value_size > layout::kMaxXattrValueBytes ||
          !RangeFits(xattr.name_offset, xattr.name_size, bytes.size()) ||
          !RangeFits(xattr.value_offset, xattr.value_size, bytes.size())) {
        return Fail(BrokenRecord("XATTRS", i, "name or value"));
      }
      const ByteSpan name = bytes.subspan(xattr.name_offset, xattr.name_size);
      if (Contains(name, '\0')) return Fail(BrokenRecord("XATTRS", i, "NUL in the name"));
      if (AsText(name) <= last) return Fail(BrokenRecord("XATTRS", i, "out of order"));
      last = AsText(name);
    }
    return {};
  }

  Status CheckSparseSet(layout::SetRecord set) const {
    uint64_t file_end = 0;
    uint64_t tar_end = 0;
    for (uint64_t i = set.first; i < uint64_t{set.first} + set.count; ++i) {
      const auto extent = Load<layout::SparseExtentRecord>(sections_.sparse_extents, i);
      if (extent.size == 0 || extent.file_offset < file_end || extent.tar_offset < tar_end ||
          !RangeFits(extent.file_offset, extent.size, INT64_MAX) ||
          !RangeFits(extent.tar_offset, extent.size, INT64_MAX)) {
        return Fail(BrokenRecord("SPARSE_EXTENTS", i, "out of order"));
      }
      file_end = extent.file_offset + extent.size;
      tar_end = extent.tar_offset + extent.size;
    }
    return {};
  }

  const layout::Sections& sections_;
  const bool is_tree_;
};

// Inodes and entries, in one walk over INODES. Holds a bit per directory that has a name and one
// per entry that belongs to a directory; so the walk costs no more than the sections' size.
class InodeTable {
 public:
  InodeTable(const layout::Sections& sections, bool is_tree)
      : sections_(sections),
        is_tree_(is_tree),
        inode_count_(Count<layout::InodeRecord>(sections.inodes)),
        named_directories_(inode_count_),
        owned_entries_(Count<layout::DirentRecord>(sections.dirents)) {}

  Status Check() {
    if (inode_count_ < 2 || inode_count_ > UINT32_MAX) {
      return Fail(BrokenIndex("INODES", "no root, or too many"));
    }
    const layout::InodeRecord nobody{};
    const auto first = Load<layout::InodeRecord>(sections_.inodes, 0);
    if (std::memcmp(&first, &nobody, sizeof nobody) != 0) {
      return Fail(BrokenRecord("INODES", 0, "not zero"));
    }
    if (!S_ISDIR(LoadInode(1).mode)) return Fail(BrokenRecord("INODES", 1, "no directory"));
    named_directories_[1] = true;
    for (uint64_t i = 1; i < inode_count_; ++i) LAYERFS_CHECK_OK(CheckInode(i));
    if (owned_count_ != owned_entries_.size()) {
      return Fail(BrokenIndex("DIRENTS", "some belong to no directory"));
    }
    // Each named directory has one name, so there are as many unless one has none.
    if (directory_count_ != named_count_ + 1) {
      return Fail(BrokenIndex("INODES", "a directory without a name"));
    }
    return {};
  }

  uint64_t total_file_bytes() const { return total_file_bytes_; }

 private:
  layout::InodeRecord LoadInode(uint64_t number) const {
    return Load<layout::InodeRecord>(sections_.inodes, number);
  }

  Status CheckInode(uint64_t number) {
    const auto inode = LoadInode(number);
    if (inode.zero0 != 0 || inode.zero1 != 0 || inode.mtime_nanoseconds >= 1'000'000'000 ||
        inode.xattr_set > Count<layout::SetRecord>(sections_.xattr_sets)) {
      return Fail(BrokenRecord("INODES", number, "nanoseconds, xattrs or reserved bytes"));
    }
    const bool regular_with_data = S_ISREG(inode.mode) && inode.size > 0;
    if ((!S_ISDIR(inode.mode) && inode.parent != 0) ||
        (!regular_with_data && (inode.layer != 0 || inode.sparse_set != 0))) {
      return Fail(BrokenRecord("INODES", number, "a field that its type does not have"));
    }
    LAYERFS_CHECK_OK(CheckFlags(number, inode));
    switch (inode.mode & S_IFMT) {
      case 0:
        return CheckTarget(number, inode, layout::kMaxLinkPathBytes);
      case S_IFREG:
        return CheckRegular(number, inode);
      case S_IFDIR:
        return CheckDirectory(number, inode);
      case S_IFLNK:
        return CheckTarget(number, inode, layout::kMaxTargetBytes);
      case S_IFCHR:
      case S_IFBLK:
      case S_IFIFO:
      case S_IFSOCK:
        return CheckSpecial(number, inode);
      default:
        return Fail(BrokenRecord("INODES", number, "unknown file type"));
    }
  }

  Status CheckFlags(uint64_t number, const layout::InodeRecord& inode) const {
    const uint32_t type = inode.mode & S_IFMT;
    uint32_t allowed = 0;
    if (!is_tree_ && type == S_IFDIR) allowed = layout::kFlagImplicit | layout::kFlagOpaque;
    if (!is_tree_ && type == 0) allowed = layout::kFlagUnresolvedLink;
    const bool needed = type != 0 || inode.flags == layout::kFlagUnresolvedLink;
    if ((inode.flags & ~allowed) != 0 || !needed) {
      return Fail(BrokenRecord("INODES", number, "flags that its type or the index cannot have"));
    }
    return {};
  }

  Status CheckTarget(uint64_t number, const layout::InodeRecord& inode, uint64_t limit) const {
    if (inode.size == 0 || inode.size > limit ||
        !RangeFits(inode.location, inode.size, sections_.targets.size())) {
      return Fail(BrokenRecord("INODES", number, "link target"));
    }
    return {};
  }

  static Status CheckSpecial(uint64_t number, const layout::InodeRecord& inode) {
    const bool device = S_ISCHR(inode.mode) || S_ISBLK(inode.mode);
    if (inode.size != 0 || (!device && inode.location != 0)) {
      return Fail(BrokenRecord("INODES", number, "a field that its type does not have"));
    }
    return {};
  }

  Status CheckRegular(uint64_t number, const layout::InodeRecord& inode) {
    if (inode.size > INT64_MAX) return Fail(BrokenRecord("INODES", number, "file size"));
    total_file_bytes_ = CheckedAdd(total_file_bytes_, inode.size).value_or(UINT64_MAX);
    if (inode.size == 0) {
      if (inode.location == 0) return {};
      return Fail(BrokenRecord("INODES", number, "an empty file with a place"));
    }
    if (inode.layer >= Count<layout::LayerRecord>(sections_.layers)) {
      return Fail(BrokenRecord("INODES", number, "layer"));
    }
    const uint64_t tar_size = Load<layout::LayerRecord>(sections_.layers, inode.layer).tar_size;
    if (inode.sparse_set != 0) return CheckSparse(number, inode, tar_size);
    if (!RangeFits(inode.location, inode.size, tar_size)) {
      return Fail(BrokenRecord("INODES", number, "data outside the layer's tar"));
    }
    return {};
  }

  // Extents ascend in file and tar: if the last one is inside, all are.
  Status CheckSparse(uint64_t number, const layout::InodeRecord& inode, uint64_t tar_size) const {
    if (inode.location != 0 || inode.sparse_set > Count<layout::SetRecord>(sections_.sparse_sets)) {
      return Fail(BrokenRecord("INODES", number, "sparse set"));
    }
    const auto set = Load<layout::SetRecord>(sections_.sparse_sets, inode.sparse_set - 1);
    if (set.count == 0) return {};
    const auto last = Load<layout::SparseExtentRecord>(sections_.sparse_extents,
                                                       uint64_t{set.first} + set.count - 1);
    if (last.file_offset + last.size > inode.size || last.tar_offset + last.size > tar_size) {
      return Fail(BrokenRecord("INODES", number, "sparse data outside the file or the tar"));
    }
    return {};
  }

  Status CheckDirectory(uint64_t number, const layout::InodeRecord& inode) {
    const uint64_t first = layout::FirstEntry(inode);
    const uint64_t count = layout::EntryCount(inode);
    if (inode.size != 0 || !RangeFits(first, count, owned_entries_.size())) {
      return Fail(BrokenRecord("INODES", number, "directory entries"));
    }
    if (count == 0 && first != 0) {
      return Fail(BrokenRecord("INODES", number, "an empty directory with a place"));
    }
    if (number == 1 ? inode.parent != 1 : inode.parent == 0 || inode.parent >= number) {
      return Fail(BrokenRecord("INODES", number, "parent"));
    }
    ++directory_count_;
    owned_count_ += count;
    std::string_view last;
    for (uint64_t i = first; i < first + count; ++i) {
      if (owned_entries_[i]) return Fail(BrokenRecord("DIRENTS", i, "in two directories"));
      owned_entries_[i] = true;
      LAYERFS_CHECK_OK(CheckDirent(number, i, last));
    }
    return {};
  }

  Status CheckDirent(uint64_t directory, uint64_t position, std::string_view& last) {
    const auto dirent = Load<layout::DirentRecord>(sections_.dirents, position);
    if (dirent.name_size == 0 || dirent.name_size > layout::kMaxNameBytes || dirent.zero != 0 ||
        !RangeFits(dirent.name_offset, dirent.name_size, sections_.names.size())) {
      return Fail(BrokenRecord("DIRENTS", position, "name"));
    }
    const std::string_view name =
        AsText(sections_.names.subspan(dirent.name_offset, dirent.name_size));
    if (name == "." || name == "..") return Fail(BrokenRecord("DIRENTS", position, "dot or dots"));
    if (name <= last) return Fail(BrokenRecord("DIRENTS", position, "out of order"));
    last = name;
    if (dirent.inode == 0) {
      if (!is_tree_) return {};
      return Fail(BrokenRecord("DIRENTS", position, "a whiteout in a tree"));
    }
    if (dirent.inode >= inode_count_) return Fail(BrokenRecord("DIRENTS", position, "inode"));
    const auto child = LoadInode(dirent.inode);
    if (!S_ISDIR(child.mode)) return {};
    if (child.parent != directory || named_directories_[dirent.inode]) {
      return Fail(BrokenRecord("DIRENTS", position, "a directory with another parent or name"));
    }
    named_directories_[dirent.inode] = true;
    ++named_count_;
    return {};
  }

  const layout::Sections& sections_;
  const bool is_tree_;
  const uint64_t inode_count_;
  std::vector<bool> named_directories_;
  std::vector<bool> owned_entries_;
  uint64_t directory_count_ = 0;
  uint64_t named_count_ = 0;
  uint64_t owned_count_ = 0;
  uint64_t total_file_bytes_ = 0;
};

}  // namespace

Result<ValidatedIndex> ValidateIndex(ByteSpan bytes) {
  LAYERFS_TRY(parsed, ParseSections(bytes));
  LAYERFS_CHECK_OK(VerifySections(parsed, bytes));
  const bool is_tree = parsed.kind == IndexKind::kTree;
  LAYERFS_CHECK_OK(ReferredTables(parsed.sections, is_tree).Check());
  InodeTable inodes(parsed.sections, is_tree);
  LAYERFS_CHECK_OK(inodes.Check());
  return ValidatedIndex{parsed.sections, parsed.kind, inodes.total_file_bytes()};
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/index_validate.h"

#include <sys/stat.h>

#include <string>
#include <vector>

#include "index/base/xxh3.h"

namespace layerfs {
namespace {

using layout::Count;
using layout::Load;

Error Broken(std::string_view where, std::string_view what) {
  return Error{ErrorCode::kCorrupt, "index: " + std::string(where) + ": " + std::string(what)};
}

Error BrokenRecord(std::string_view section, uint64_t position, std::string_view what) {
  return Broken(std::string(section) + " record " + std::to_string(position), what);
}

Result<layout::Header> ValidateHeader(ByteSpan bytes) {
  if (bytes.size() < sizeof(layout::Header)) return Fail(Broken("header", "cut short"));
  const auto header = Load<layout::Header>(bytes, 0);
  if (header.magic != layout::kMagic) return Fail(Broken("header", "not a layerfs index"));
  if (header.version != layout::kVersion) {
    return Fail(ErrorCode::kUnsupported, "index: format version " + std::to_string(header.version) +
                                             "; this layerfs reads version 1: use a newer one");
  }
  if (const uint64_t unknown = header.incompat & ~layout::kKnownIncompat; unknown != 0) {
    return Fail(ErrorCode::kUnsupported, "index: needs unknown features (incompat bits " +
                                             std::to_string(unknown) + "): use a newer layerfs");
  }
  if (header.kind != 1 && header.kind != 2) return Fail(Broken("header", "unknown kind"));
  if (header.file_size != bytes.size()) {
    return Fail(Broken("header", "says " + std::to_string(header.file_size) + " bytes, there are " +
                                     std::to_string(bytes.size())));
  }
  if (header.section_count > layout::kMaxSections) {
    return Fail(Broken("header", "too many sections"));
  }
  if (header.zero0 != 0 || header.zero1 != 0) {
    return Fail(Broken("header", "reserved bytes are not zero"));
  }
  return header;
}

Status AssignSection(const layout::SectionRecord& record, ByteSpan bytes, uint32_t& seen,
                     layout::Sections& sections) {
  for (const layout::SectionSpec& spec : layout::kSectionSpecs) {
    if (static_cast<uint32_t>(spec.id) != record.id) continue;
    const uint32_t bit = 1U << record.id;
    if ((seen & bit) != 0) return Fail(Broken(spec.name, "there twice"));
    seen |= bit;
    if (record.record_size != spec.record_size || record.size % spec.record_size != 0) {
      return Fail(Broken(spec.name, "record size"));
    }
    const ByteSpan view = bytes.subspan(record.offset, record.size);
    if (Xxh3(view) != record.checksum) return Fail(Broken(spec.name, "checksum mismatch"));
    sections.*spec.view = view;
    return {};
  }
  return {};  // A section of a later writer, which a compat feature allows.
}

Result<layout::Sections> ReadSections(ByteSpan bytes, const layout::Header& header) {
  const uint64_t table_size = uint64_t{header.section_count} * sizeof(layout::SectionRecord);
  if (!RangeFits(sizeof(layout::Header), table_size, bytes.size())) {
    return Fail(Broken("section table", "cut short"));
  }
  Bytes covered(bytes.begin(), bytes.begin() + offsetof(layout::Header, checksum));
  const ByteSpan table = bytes.subspan(sizeof(layout::Header), table_size);
  covered.insert(covered.end(), table.begin(), table.end());
  if (Xxh3(covered) != header.checksum) return Fail(Broken("header", "checksum mismatch"));
  layout::Sections sections;
  uint32_t seen = 0;
  for (uint32_t i = 0; i < header.section_count; ++i) {
    const auto record = Load<layout::SectionRecord>(table, i);
    if (!RangeFits(record.offset, record.size, bytes.size()) ||
        record.offset % layout::kSectionAlignment != 0 ||
        record.offset < sizeof(layout::Header) + table_size) {
      return Fail(Broken("section " + std::to_string(record.id), "outside the index"));
    }
    LAYERFS_CHECK_OK(AssignSection(record, bytes, seen, sections));
  }
  for (const layout::SectionSpec& spec : layout::kSectionSpecs) {
    if ((seen & 1U << static_cast<uint32_t>(spec.id)) == 0) {
      return Fail(Broken(spec.name, "missing"));
    }
  }
  return sections;
}

// Walks the tables once. Holds views and the bitmap of directories that have a name.
class TableValidator {
 public:
  TableValidator(const layout::Sections& sections, IndexKind kind)
      : sections_(sections),
        is_tree_(kind == IndexKind::kTree),
        inode_count_(Count<layout::InodeRecord>(sections.inodes)),
        named_directories_(inode_count_) {}

  Status Run() {
    if (inode_count_ < 2 || inode_count_ > UINT32_MAX) {
      return Fail(Broken("INODES", "no root or too many inodes"));
    }
    LAYERFS_CHECK_OK(CheckLayers());
    LAYERFS_CHECK_OK(CheckSets(sections_.xattr_sets, Count<layout::XattrRecord>(sections_.xattrs),
                               "XATTR_SETS"));
    LAYERFS_CHECK_OK(CheckXattrs());
    LAYERFS_CHECK_OK(CheckSets(sections_.sparse_sets,
                               Count<layout::SparseExtentRecord>(sections_.sparse_extents),
                               "SPARSE_SETS"));
    if (!S_ISDIR(LoadInode(1).mode)) return Fail(BrokenRecord("INODES", 1, "root: no directory"));
    for (uint64_t i = 1; i < inode_count_; ++i) LAYERFS_CHECK_OK(CheckInode(i));
    for (uint64_t i = 2; i < inode_count_; ++i) {
      if (S_ISDIR(LoadInode(i).mode) && !named_directories_[i]) {
        return Fail(BrokenRecord("INODES", i, "a directory without a name"));
      }
    }
    return {};
  }

  uint64_t total_file_bytes() const { return total_file_bytes_; }

 private:
  layout::InodeRecord LoadInode(uint64_t number) const {
    return Load<layout::InodeRecord>(sections_.inodes, number);
  }

  Status CheckLayers() {
    const uint64_t layers = Count<layout::LayerRecord>(sections_.layers);
    const uint64_t segments = Count<layout::SegmentRecord>(sections_.segments);
    if (layers > layout::kMaxLayers || (!is_tree_ && layers != 1)) {
      return Fail(Broken("LAYERS", std::to_string(layers) + " layers"));
    }
    uint64_t next_segment = 0;
    for (uint64_t i = 0; i < layers; ++i) {
      const auto layer = Load<layout::LayerRecord>(sections_.layers, i);
      if (layer.first_segment != next_segment) {
        return Fail(BrokenRecord("LAYERS", i, "segments do not follow the last layer's"));
      }
      next_segment += layer.segment_count;
      if (next_segment > segments) return Fail(BrokenRecord("LAYERS", i, "segments outside"));
      LAYERFS_CHECK_OK(CheckSegments(i, layer));
    }
    if (next_segment != segments) return Fail(Broken("SEGMENTS", "some belong to no layer"));
    return {};
  }

  Status CheckSegments(uint64_t layer_number, const layout::LayerRecord& layer) {
    uint64_t covered = 0;
    for (uint64_t i = layer.first_segment; i < uint64_t{layer.first_segment} + layer.segment_count;
         ++i) {
      const auto segment = Load<layout::SegmentRecord>(sections_.segments, i);
      const uint64_t blob_limit = layer.blob_size == 0 ? UINT64_MAX : layer.blob_size;
      if (segment.layer != layer_number) {
        return Fail(BrokenRecord("SEGMENTS", i, "of another layer"));
      }
      if (segment.tar_begin != covered || segment.tar_end <= segment.tar_begin ||
          segment.tar_end > layer.tar_size) {
        return Fail(BrokenRecord("SEGMENTS", i, "tar range"));
      }
      if (segment.size == 0 || segment.size > kMaxChunkBytes || segment.stored_size == 0 ||
          segment.stored_size > kMaxChunkBytes ||
          !RangeFits(segment.blob_offset, segment.stored_size, blob_limit)) {
        return Fail(BrokenRecord("SEGMENTS", i, "size"));
      }
      if (segment.codec > static_cast<uint8_t>(ChunkCodec::kZstdFrame)) {
        return Fail(BrokenRecord("SEGMENTS", i, "unknown codec"));
      }
      covered = segment.tar_end;
    }
    return {};
  }

  static Status CheckSets(ByteSpan sets, uint64_t records, std::string_view name) {
    for (uint64_t i = 0; i < Count<layout::SetRecord>(sets); ++i) {
      const auto set = Load<layout::SetRecord>(sets, i);
      if (!RangeFits(set.first, set.count, records)) {
        return Fail(BrokenRecord(name, i, "outside its table"));
      }
    }
    return {};
  }

  Status CheckXattrs() {
    for (uint64_t i = 0; i < Count<layout::XattrRecord>(sections_.xattrs); ++i) {
      const auto xattr = Load<layout::XattrRecord>(sections_.xattrs, i);
      if (xattr.name_size == 0 || xattr.name_size > layout::kMaxNameBytes ||
          !RangeFits(xattr.name_offset, xattr.name_size, sections_.strings.size()) ||
          xattr.value_size > layout::kMaxXattrValueBytes ||
          !RangeFits(xattr.value_offset, xattr.value_size, sections_.strings.size())) {
        return Fail(BrokenRecord("XATTRS", i, "name or value"));
      }
      const std::string_view name =
          AsText(sections_.strings.subspan(xattr.name_offset, xattr.name_size));
      if (name.find('\0') != std::string_view::npos) {
        return Fail(BrokenRecord("XATTRS", i, "NUL in the name"));
      }
    }
    return {};
  }

  Status CheckInode(uint64_t number) {
    const auto inode = LoadInode(number);
    if (inode.zero0 != 0 || inode.zero1 != 0 || (inode.flags & ~layout::kKnownInodeFlags) != 0 ||
        inode.mtime_nanoseconds >= 1'000'000'000) {
      return Fail(BrokenRecord("INODES", number, "flags, nanoseconds or reserved bytes"));
    }
    if (is_tree_ && inode.flags != 0) {
      return Fail(BrokenRecord("INODES", number, "a layer's mark in a tree"));
    }
    if (inode.xattr_set > Count<layout::SetRecord>(sections_.xattr_sets)) {
      return Fail(BrokenRecord("INODES", number, "xattr set"));
    }
    if ((inode.flags & layout::kFlagUnresolvedLink) != 0) return CheckUnresolved(number, inode);
    switch (inode.mode & S_IFMT) {
      case S_IFREG:
        return CheckRegular(number, inode);
      case S_IFDIR:
        return CheckDirectory(number, inode);
      case S_IFLNK:
        return CheckTarget(number, inode);
      case S_IFCHR:
      case S_IFBLK:
      case S_IFIFO:
      case S_IFSOCK:
        if (inode.size != 0) return Fail(BrokenRecord("INODES", number, "size of a special file"));
        return {};
      default:
        return Fail(BrokenRecord("INODES", number, "unknown file type"));
    }
  }

  Status CheckUnresolved(uint64_t number, const layout::InodeRecord& inode) const {
    if ((inode.mode & S_IFMT) != 0) return Fail(BrokenRecord("INODES", number, "link with a type"));
    return CheckTarget(number, inode);
  }

  Status CheckTarget(uint64_t number, const layout::InodeRecord& inode) const {
    if (inode.size == 0 || inode.size > layout::kMaxTargetBytes ||
        !RangeFits(inode.location, inode.size, sections_.strings.size())) {
      return Fail(BrokenRecord("INODES", number, "link target"));
    }
    const std::string_view target = AsText(sections_.strings.subspan(inode.location, inode.size));
    if (target.find('\0') != std::string_view::npos) {
      return Fail(BrokenRecord("INODES", number, "NUL in the link target"));
    }
    return {};
  }

  Status CheckRegular(uint64_t number, const layout::InodeRecord& inode) {
    if (inode.size > INT64_MAX) return Fail(BrokenRecord("INODES", number, "file size"));
    const auto total = CheckedAdd(total_file_bytes_, inode.size);
    total_file_bytes_ = total.value_or(UINT64_MAX);
    if (inode.size == 0) return {};
    if (inode.layer >= Count<layout::LayerRecord>(sections_.layers)) {
      return Fail(BrokenRecord("INODES", number, "layer"));
    }
    const auto layer = Load<layout::LayerRecord>(sections_.layers, inode.layer);
    if (inode.sparse_set != 0) return CheckSparse(number, inode, layer.tar_size);
    if (!RangeFits(inode.location, inode.size, layer.tar_size)) {
      return Fail(BrokenRecord("INODES", number, "data outside the layer's tar"));
    }
    return {};
  }

  Status CheckSparse(uint64_t number, const layout::InodeRecord& inode, uint64_t tar_size) const {
    if (inode.sparse_set > Count<layout::SetRecord>(sections_.sparse_sets)) {
      return Fail(BrokenRecord("INODES", number, "sparse set"));
    }
    const auto set = Load<layout::SetRecord>(sections_.sparse_sets, inode.sparse_set - 1);
    uint64_t end = 0;
    for (uint64_t i = set.first; i < uint64_t{set.first} + set.count; ++i) {
      const auto extent = Load<layout::SparseExtentRecord>(sections_.sparse_extents, i);
      if (extent.size == 0 || extent.file_offset < end ||
          !RangeFits(extent.file_offset, extent.size, inode.size) ||
          !RangeFits(extent.tar_offset, extent.size, tar_size)) {
        return Fail(BrokenRecord("SPARSE_EXTENTS", i, "of inode " + std::to_string(number)));
      }
      end = extent.file_offset + extent.size;
    }
    return {};
  }

  Status CheckDirectory(uint64_t number, const layout::InodeRecord& inode) {
    const uint32_t first = layout::FirstEntry(inode);
    const uint32_t count = layout::EntryCount(inode);
    if (inode.size != 0 ||
        !RangeFits(first, count, Count<layout::DirentRecord>(sections_.dirents))) {
      return Fail(BrokenRecord("INODES", number, "directory entries"));
    }
    // A child's number is above its parent's, so that walking up always ends at the root.
    if (number == 1 ? inode.parent != 1 : inode.parent == 0 || inode.parent >= number) {
      return Fail(BrokenRecord("INODES", number, "parent"));
    }
    std::string_view last;
    for (uint64_t i = first; i < uint64_t{first} + count; ++i) {
      LAYERFS_CHECK_OK(CheckDirent(number, i, last));
    }
    return {};
  }

  Status CheckDirent(uint64_t directory, uint64_t position, std::string_view& last) {
    const auto dirent = Load<layout::DirentRecord>(sections_.dirents, position);
    if (dirent.name_size == 0 || dirent.name_size > layout::kMaxNameBytes || dirent.zero != 0 ||
        !RangeFits(dirent.name_offset, dirent.name_size, sections_.strings.size())) {
      return Fail(BrokenRecord("DIRENTS", position, "name"));
    }
    const std::string_view name =
        AsText(sections_.strings.subspan(dirent.name_offset, dirent.name_size));
    if (name == "." || name == ".." || name.find('/') != std::string_view::npos ||
        name.find('\0') != std::string_view::npos) {
      return Fail(BrokenRecord("DIRENTS", position, "name"));
    }
    if (name <= last) return Fail(BrokenRecord("DIRENTS", position, "out of order"));
    last = name;
    if (dirent.inode == 0) {
      if (is_tree_) return Fail(BrokenRecord("DIRENTS", position, "a whiteout in a tree"));
      return {};
    }
    if (dirent.inode >= inode_count_ || dirent.inode == 1) {
      return Fail(BrokenRecord("DIRENTS", position, "inode"));
    }
    const auto child = LoadInode(dirent.inode);
    if (!S_ISDIR(child.mode)) return {};
    if (child.parent != directory || named_directories_[dirent.inode]) {
      return Fail(BrokenRecord("DIRENTS", position, "a directory with another parent or name"));
    }
    named_directories_[dirent.inode] = true;
    return {};
  }

  const layout::Sections& sections_;
  const bool is_tree_;
  const uint64_t inode_count_;
  std::vector<bool> named_directories_;
  uint64_t total_file_bytes_ = 0;
};

}  // namespace

Result<ValidatedIndex> ValidateIndex(ByteSpan bytes) {
  LAYERFS_TRY(header, ValidateHeader(bytes));
  LAYERFS_TRY(sections, ReadSections(bytes, header));
  const auto kind = static_cast<IndexKind>(header.kind);
  TableValidator validator(sections, kind);
  LAYERFS_CHECK_OK(validator.Run());
  return ValidatedIndex{sections, kind, validator.total_file_bytes()};
}

}  // namespace layerfs

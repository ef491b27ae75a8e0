// SPDX-License-Identifier: Apache-2.0
#include "index/index_writer.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cassert>
#include <map>
#include <unordered_set>

#include "index/base/xxh3.h"
#include "index/index_layout.h"

namespace layerfs {
namespace {

// Bytes kept once each; an equal string added again gets the first one's place.
class StringTable {
 public:
  StringTable() : known_(0, Hash{&bytes_}, Equal{&bytes_}) {}

  uint32_t Add(std::string_view text) {
    if (text.empty()) return 0;
    if (const auto it = known_.find(text); it != known_.end()) return it->offset;
    const Place place{static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(text.size())};
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    if (bytes_.size() <= UINT32_MAX) known_.insert(place);
    return place.offset;
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  struct Place {
    uint32_t offset;
    uint32_t size;
  };
  static std::string_view View(const Bytes* bytes, Place place) {
    return AsText(ByteSpan(*bytes).subspan(place.offset, place.size));
  }
  struct Hash {
    using is_transparent = void;
    const Bytes* bytes;
    size_t operator()(std::string_view text) const { return Xxh3(AsBytes(text)); }
    size_t operator()(Place place) const { return (*this)(View(bytes, place)); }
  };
  struct Equal {
    using is_transparent = void;
    const Bytes* bytes;
    bool operator()(Place a, Place b) const { return View(bytes, a) == View(bytes, b); }
    bool operator()(std::string_view a, Place b) const { return a == View(bytes, b); }
    bool operator()(Place a, std::string_view b) const { return View(bytes, a) == b; }
  };

  Bytes bytes_;
  std::unordered_set<Place, Hash, Equal> known_;
};

template <typename Record>
void Append(Bytes& section, const Record& record) {
  const ByteSpan bytes = layout::AsRecordBytes(record);
  section.insert(section.end(), bytes.begin(), bytes.end());
}

}  // namespace

class IndexWriter::Impl {
 public:
  explicit Impl(IndexKind kind) : kind_(kind) { inodes_.emplace_back(); }

  InodeNumber AddInode(const NewInode& added) {
    const Inode& inode = added.inode;
    layout::InodeRecord record{};
    record.mode = static_cast<uint16_t>(inode.mode);
    record.flags = static_cast<uint16_t>((inode.implicit ? layout::kFlagImplicit : 0) |
                                         (inode.opaque ? layout::kFlagOpaque : 0) |
                                         (inode.unresolved_link ? layout::kFlagUnresolvedLink : 0));
    record.uid = inode.uid;
    record.gid = inode.gid;
    record.nlink = inode.nlink;
    record.mtime_seconds = inode.mtime.seconds;
    record.mtime_nanoseconds = inode.mtime.nanoseconds;
    record.xattr_set = AddXattrs(added.xattrs);
    if (S_ISREG(inode.mode)) {
      record.size = inode.size;
      if (inode.size > 0) SetData(added, record);
    } else if (S_ISLNK(inode.mode) || inode.unresolved_link) {
      record.size = added.target.size();
      record.location = strings_.Add(added.target);
      if (added.target.empty() || added.target.size() > layout::kMaxTargetBytes) {
        Refuse("a link target of " + std::to_string(added.target.size()) + " bytes; the limit is " +
               std::to_string(layout::kMaxTargetBytes));
      }
    } else if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
      record.location = layout::PackDevice(major(inode.rdev), minor(inode.rdev));
    } else if (S_ISDIR(inode.mode) && inodes_.size() == 1) {
      record.parent = ToUint(kRootInode);
    }
    inodes_.push_back(record);
    return InodeNumber{static_cast<uint32_t>(inodes_.size() - 1)};
  }

  void SetEntries(InodeNumber directory, std::span<const Dirent> entries) {
    layout::InodeRecord& record = inodes_[ToUint(directory)];
    assert(S_ISDIR(record.mode));
    record.location = layout::PackEntries(static_cast<uint32_t>(dirent_count_),
                                          static_cast<uint32_t>(entries.size()));
    for (const Dirent& entry : entries) {
      layout::DirentRecord dirent{};
      dirent.name_offset = strings_.Add(entry.name);
      dirent.name_size = static_cast<uint16_t>(entry.name.size());
      dirent.inode = ToUint(entry.inode);
      Append(dirents_, dirent);
      if (!entry.is_whiteout() && S_ISDIR(inodes_[dirent.inode].mode)) {
        inodes_[dirent.inode].parent = ToUint(directory);
      }
    }
    dirent_count_ += entries.size();
  }

  Result<Bytes> Finish(std::span<const LayerInfo> layers, std::span<const SegmentRef> segments) {
    if (!refusal_.empty()) return Fail(ErrorCode::kTooLarge, "index: " + refusal_);
    if (inodes_.size() > UINT32_MAX || dirent_count_ > UINT32_MAX ||
        strings_.bytes().size() > UINT32_MAX || layers.size() > layout::kMaxLayers) {
      return Fail(ErrorCode::kTooLarge,
                  "index: more inodes, names or layers than the format holds");
    }
    Bytes layer_section;
    for (const LayerInfo& layer : layers) {
      Append(layer_section,
             layout::LayerRecord{layer.blob.bytes, layer.blob_size, layer.diff_id.bytes,
                                 layer.tar_size, layer.first_segment, layer.segment_count, 0});
    }
    Bytes segment_section;
    for (const SegmentRef& segment : segments) Append(segment_section, EncodeSegment(segment));
    const ByteSpan inode_section(reinterpret_cast<const uint8_t*>(inodes_.data()),
                                 inodes_.size() * sizeof(layout::InodeRecord));
    layout::Sections sections;
    sections.layers = layer_section;
    sections.inodes = inode_section;
    sections.dirents = dirents_;
    sections.strings = strings_.bytes();
    sections.xattr_sets = xattr_sets_;
    sections.xattrs = xattrs_;
    sections.sparse_sets = sparse_sets_;
    sections.sparse_extents = sparse_extents_;
    sections.segments = segment_section;
    return Assemble(sections);
  }

 private:
  void Refuse(std::string why) {
    if (refusal_.empty()) refusal_ = std::move(why);
  }

  void SetData(const NewInode& added, layout::InodeRecord& record) {
    record.layer = ToUint(added.inode.layer);
    if (!added.sparse) {
      record.location = added.inode.data_offset;
      return;
    }
    const auto first =
        static_cast<uint32_t>(sparse_extents_.size() / sizeof(layout::SparseExtentRecord));
    for (const DataExtent& extent : added.extents) {
      Append(sparse_extents_,
             layout::SparseExtentRecord{extent.file_offset, extent.tar_offset, extent.size});
    }
    Append(sparse_sets_, layout::SetRecord{first, static_cast<uint32_t>(added.extents.size())});
    record.sparse_set = static_cast<uint32_t>(sparse_sets_.size() / sizeof(layout::SetRecord));
  }

  uint32_t AddXattrs(std::span<const Xattr> xattrs) {
    if (xattrs.empty()) return 0;
    std::vector<Xattr> sorted(xattrs.begin(), xattrs.end());
    std::sort(sorted.begin(), sorted.end(),
              [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
    Bytes records;
    for (const Xattr& xattr : sorted) {
      if (xattr.name.empty() || xattr.name.size() > layout::kMaxNameBytes ||
          xattr.value.size() > layout::kMaxXattrValueBytes) {
        Refuse("extended attribute \"" + std::string(xattr.name.substr(0, 64)) +
               "\": name or value longer than Linux takes");
        return 0;
      }
      Append(records, layout::XattrRecord{strings_.Add(xattr.name), strings_.Add(xattr.value),
                                          static_cast<uint32_t>(xattr.value.size()),
                                          static_cast<uint16_t>(xattr.name.size()), 0});
    }
    const auto [it, is_new] = known_xattr_sets_.try_emplace(std::string(AsText(records)), 0);
    if (is_new) {
      const auto first = static_cast<uint32_t>(xattrs_.size() / sizeof(layout::XattrRecord));
      xattrs_.insert(xattrs_.end(), records.begin(), records.end());
      Append(xattr_sets_, layout::SetRecord{first, static_cast<uint32_t>(sorted.size())});
      it->second = static_cast<uint32_t>(xattr_sets_.size() / sizeof(layout::SetRecord));
    }
    return it->second;
  }

  static layout::SegmentRecord EncodeSegment(const SegmentRef& segment) {
    layout::SegmentRecord record{};
    record.digest = segment.ref.digest.bytes;
    record.blob_offset = segment.ref.blob_offset;
    record.tar_begin = segment.tar_begin;
    record.tar_end = segment.tar_end;
    record.stored_size = segment.ref.stored_size;
    record.size = segment.ref.size;
    record.layer = ToUint(segment.layer);
    record.codec = static_cast<uint8_t>(segment.ref.codec);
    return record;
  }

  Result<Bytes> Assemble(const layout::Sections& sections) const {
    std::vector<layout::SectionRecord> table;
    uint64_t offset =
        sizeof(layout::Header) + layout::kSectionSpecs.size() * sizeof(layout::SectionRecord);
    for (const layout::SectionSpec& spec : layout::kSectionSpecs) {
      const ByteSpan section = sections.*spec.view;
      table.push_back(layout::SectionRecord{static_cast<uint32_t>(spec.id), spec.record_size,
                                            offset, section.size(), Xxh3(section)});
      offset = AlignUp(offset + section.size(), layout::kSectionAlignment);
    }
    if (offset > kMaxIndexBytes) {
      return Fail(ErrorCode::kTooLarge, "index: " + std::to_string(offset) +
                                            " bytes; the limit is " +
                                            std::to_string(kMaxIndexBytes));
    }
    layout::Header header{};
    header.magic = layout::kMagic;
    header.version = layout::kVersion;
    header.kind = static_cast<uint32_t>(kind_);
    header.file_size = offset;
    header.section_count = layout::kSectionCount;
    const ByteSpan table_bytes(reinterpret_cast<const uint8_t*>(table.data()),
                               table.size() * sizeof(layout::SectionRecord));
    const ByteSpan header_bytes =
        layout::AsRecordBytes(header).first(offsetof(layout::Header, checksum));
    Bytes covered(header_bytes.begin(), header_bytes.end());
    covered.insert(covered.end(), table_bytes.begin(), table_bytes.end());
    header.checksum = Xxh3(covered);

    Bytes index(offset);
    std::memcpy(index.data(), &header, sizeof header);
    std::memcpy(index.data() + sizeof header, table_bytes.data(), table_bytes.size());
    for (size_t i = 0; i < layout::kSectionSpecs.size(); ++i) {
      const ByteSpan section = sections.*layout::kSectionSpecs[i].view;
      if (!section.empty()) {
        std::memcpy(index.data() + table[i].offset, section.data(), section.size());
      }
    }
    return index;
  }

  IndexKind kind_;
  std::string refusal_;  // the first thing that the format cannot hold
  std::vector<layout::InodeRecord> inodes_;
  uint64_t dirent_count_ = 0;
  Bytes dirents_;
  StringTable strings_;
  Bytes xattr_sets_;
  Bytes xattrs_;
  std::map<std::string, uint32_t> known_xattr_sets_;  // encoded records → set number
  Bytes sparse_sets_;
  Bytes sparse_extents_;
};

IndexWriter::IndexWriter(IndexKind kind) : impl_(std::make_unique<Impl>(kind)) {}
IndexWriter::~IndexWriter() = default;

InodeNumber IndexWriter::AddInode(const NewInode& inode) { return impl_->AddInode(inode); }

void IndexWriter::SetEntries(InodeNumber directory, std::span<const Dirent> entries) {
  impl_->SetEntries(directory, entries);
}

Result<Bytes> IndexWriter::Finish(std::span<const LayerInfo> layers,
                                  std::span<const SegmentRef> segments) && {
  return impl_->Finish(layers, segments);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/index_writer.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <unordered_map>
#include <unordered_set>

#include "index/index_layout.h"

namespace layerfs {
namespace {

// Bytes kept once each; an equal string added again gets the first one's place. For what repeats
// (targets, attributes); names are not shared: as they lie in the order of their entries they
// compress better than references to names far away would, and a directory's names are together.
class SharedStrings {
 public:
  SharedStrings() : known_(0, Hash{&bytes_}, Equal{&bytes_}) {}

  uint32_t Add(std::string_view text) {
    if (text.empty()) return 0;
    if (const auto it = known_.find(text); it != known_.end()) return it->offset;
    const Place place{static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(text.size())};
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    if (bytes_.size() <= UINT32_MAX) known_.insert(place);
    return place.offset;
  }
  Bytes& bytes() { return bytes_; }

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

// The records' bytes; the records go.
template <typename Record>
Bytes TakeRecords(std::vector<Record>& records) {
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(records.data()),
                       records.size() * sizeof(Record));
  Bytes taken(bytes.begin(), bytes.end());
  std::vector<Record>().swap(records);
  return taken;
}

layout::SegmentRecord EncodeSegment(const SegmentRef& segment) {
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

// In the order of the ids.
using SectionBytes = std::array<Bytes, layout::kSectionCount>;

// Puts the sections together and frees each when it has been copied.
Result<Bytes> Assemble(IndexKind kind, SectionBytes&& sections) {
  std::vector<layout::SectionRecord> table;
  uint64_t end = sizeof(layout::Header) + sections.size() * sizeof(layout::SectionRecord);
  for (size_t i = 0; i < sections.size(); ++i) {
    const uint64_t offset = AlignUp(end, layout::kSectionAlignment);
    table.push_back({static_cast<uint32_t>(layout::kSectionSpecs[i].id),
                     layout::kSectionSpecs[i].record_size, offset, sections[i].size(),
                     Xxh3(sections[i])});
    end = offset + sections[i].size();
  }
  const uint64_t file_size = AlignUp(end, layout::kSectionAlignment);
  if (file_size > kMaxIndexBytes) {
    return Fail(ErrorCode::kTooLarge, "index: " + std::to_string(file_size) +
                                          " bytes; the limit is " + std::to_string(kMaxIndexBytes));
  }
  layout::Header header{};
  header.magic = layout::kMagic;
  header.version = layout::kVersion;
  header.kind = static_cast<uint32_t>(kind);
  header.file_size = file_size;
  header.section_count = layout::kSectionCount;
  const ByteSpan table_bytes(reinterpret_cast<const uint8_t*>(table.data()),
                             table.size() * sizeof(layout::SectionRecord));
  header.checksum = layout::HeaderChecksum(header, table_bytes);

  Bytes index;
  index.reserve(file_size);
  Append(index, header);
  index.insert(index.end(), table_bytes.begin(), table_bytes.end());
  for (size_t i = 0; i < sections.size(); ++i) {
    index.resize(table[i].offset);
    index.insert(index.end(), sections[i].begin(), sections[i].end());
    Bytes().swap(sections[i]);
  }
  index.resize(file_size);
  return index;
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
      SetTarget(added, record);
    } else if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
      record.location = layout::PackDevice(major(inode.rdev), minor(inode.rdev));
    } else if (S_ISDIR(inode.mode) && inodes_.size() == 1) {
      record.parent = ToUint(kRootInode);
    }
    inodes_.push_back(record);
    return InodeNumber{static_cast<uint32_t>(inodes_.size() - 1)};
  }

  void ExpectInodes(size_t count) { inodes_.reserve(inodes_.size() + count); }

  void SetEntries(InodeNumber directory, std::span<const Dirent> entries) {
    if (entries.empty()) return;
    listings_.push_back(
        {directory, static_cast<uint32_t>(dirents_.size()), static_cast<uint32_t>(entries.size())});
    for (const Dirent& entry : entries) {
      dirents_.push_back({static_cast<uint32_t>(names_.size()), ToUint(entry.inode),
                          static_cast<uint16_t>(entry.name.size()), 0});
      names_.insert(names_.end(), entry.name.begin(), entry.name.end());
      if (entry.name.size() > layout::kMaxNameBytes) {
        Refuse("a name of " + std::to_string(entry.name.size()) + " bytes; the limit is " +
               std::to_string(layout::kMaxNameBytes));
      }
    }
  }

  Result<Bytes> Finish(std::span<const LayerInfo> layers, std::span<const SegmentRef> segments) {
    if (!refusal_.empty()) return Fail(ErrorCode::kTooLarge, "index: " + refusal_);
    if (inodes_.size() > UINT32_MAX || dirents_.size() > UINT32_MAX || names_.size() > UINT32_MAX ||
        targets_.bytes().size() > UINT32_MAX || xattr_bytes_.bytes().size() > UINT32_MAX ||
        layers.size() > layout::kMaxLayers) {
      return Fail(ErrorCode::kTooLarge,
                  "index: more inodes, names or layers than the format holds");
    }
    SetListings();
    Bytes layer_bytes;
    for (const LayerInfo& layer : layers) {
      Append(layer_bytes,
             layout::LayerRecord{layer.blob.bytes, layer.blob_size, layer.diff_id.bytes,
                                 layer.tar_size, layer.first_segment, layer.segment_count, 0});
    }
    Bytes segment_bytes;
    for (const SegmentRef& segment : segments) Append(segment_bytes, EncodeSegment(segment));
    return Assemble(kind_,
                    {std::move(layer_bytes), TakeRecords(inodes_), TakeRecords(dirents_),
                     std::move(names_), std::move(targets_.bytes()), std::move(xattr_sets_),
                     std::move(xattrs_), std::move(xattr_bytes_.bytes()), std::move(sparse_sets_),
                     std::move(sparse_extents_), std::move(segment_bytes)});
  }

 private:
  // The entries of a directory, by position in DIRENTS.
  struct Listing {
    InodeNumber directory;
    uint32_t first;
    uint32_t count;
  };

  void SetListings() {
    for (const Listing& listing : listings_) {
      layout::InodeRecord& directory = inodes_[ToUint(listing.directory)];
      assert(S_ISDIR(directory.mode));
      directory.location = layout::PackEntries(listing.first, listing.count);
      for (const auto& dirent : std::span(dirents_).subspan(listing.first, listing.count)) {
        layout::InodeRecord& below = inodes_[dirent.inode];
        if (S_ISDIR(below.mode)) below.parent = ToUint(listing.directory);
      }
    }
    std::vector<Listing>().swap(listings_);
  }

  void Refuse(std::string why) {
    if (refusal_.empty()) refusal_ = std::move(why);
  }

  void SetTarget(const NewInode& added, layout::InodeRecord& record) {
    const uint64_t limit =
        added.inode.unresolved_link ? layout::kMaxLinkPathBytes : layout::kMaxTargetBytes;
    if (added.target.empty() || added.target.size() > limit) {
      Refuse("a link target of " + std::to_string(added.target.size()) + " bytes; the limit is " +
             std::to_string(limit));
    }
    record.size = added.target.size();
    record.location = targets_.Add(added.target);
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
    std::ranges::sort(sorted, {}, &Xattr::name);
    Bytes records;
    for (const Xattr& xattr : sorted) {
      if (xattr.name.empty() || xattr.name.size() > layout::kMaxNameBytes ||
          xattr.value.size() > layout::kMaxXattrValueBytes) {
        Refuse("extended attribute \"" + std::string(xattr.name.substr(0, 64)) +
               "\": name or value longer than Linux takes");
        return 0;
      }
      Append(records,
             layout::XattrRecord{xattr_bytes_.Add(xattr.name), xattr_bytes_.Add(xattr.value),
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

  IndexKind kind_;
  std::string refusal_;  // the first thing that the format cannot hold
  std::vector<layout::InodeRecord> inodes_;
  std::vector<Listing> listings_;
  std::vector<layout::DirentRecord> dirents_;
  Bytes names_;
  SharedStrings targets_;
  Bytes xattr_sets_;
  Bytes xattrs_;
  SharedStrings xattr_bytes_;
  std::unordered_map<std::string, uint32_t> known_xattr_sets_;  // encoded records → set number
  Bytes sparse_sets_;
  Bytes sparse_extents_;
};

IndexWriter::IndexWriter(IndexKind kind) : impl_(std::make_unique<Impl>(kind)) {}
IndexWriter::~IndexWriter() = default;

InodeNumber IndexWriter::AddInode(const NewInode& inode) { return impl_->AddInode(inode); }

void IndexWriter::ExpectInodes(size_t count) { impl_->ExpectInodes(count); }

void IndexWriter::SetEntries(InodeNumber directory, std::span<const Dirent> entries) {
  impl_->SetEntries(directory, entries);
}

Result<Bytes> IndexWriter::Finish(std::span<const LayerInfo> layers,
                                  std::span<const SegmentRef> segments) && {
  return impl_->Finish(layers, segments);
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/index_check.h"

#include <sys/stat.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "index/index_sections.h"

namespace layerfs {
namespace {

using layout::Count;
using layout::Load;

constexpr size_t kMaxFindings = 100;

class Findings {
 public:
  void Add(std::string finding) {
    if (findings_.size() < kMaxFindings) findings_.push_back(std::move(finding));
  }
  std::vector<std::string> Take() && { return std::move(findings_); }

 private:
  std::vector<std::string> findings_;
};

// Which bytes or records of a section somebody refers to.
class Usage {
 public:
  explicit Usage(uint64_t size) : used_(size) {}
  void Mark(uint64_t offset, uint64_t size) {
    std::fill_n(used_.begin() + static_cast<ptrdiff_t>(offset), size, true);
  }
  void Report(std::string_view section, Findings& findings) const {
    const auto unused = std::ranges::count(used_, false);
    if (unused == 0) return;
    const auto first = std::ranges::find(used_, false) - used_.begin();
    findings.Add(std::string(section) + ": nobody refers to " + std::to_string(unused) +
                 " of it, the first at " + std::to_string(first));
  }

 private:
  std::vector<bool> used_;
};

// What lies in the sections for nobody; Index hides it. `sections` have been validated.
void FindUnused(const layout::Sections& sections, Findings& findings) {
  Usage names(sections.names.size());
  Usage targets(sections.targets.size());
  Usage xattr_sets(Count<layout::SetRecord>(sections.xattr_sets));
  Usage xattr_bytes(sections.xattr_bytes.size());
  Usage sparse_sets(Count<layout::SetRecord>(sections.sparse_sets));
  for (uint64_t i = 0; i < Count<layout::DirentRecord>(sections.dirents); ++i) {
    const auto dirent = Load<layout::DirentRecord>(sections.dirents, i);
    names.Mark(dirent.name_offset, dirent.name_size);
  }
  for (uint64_t i = 0; i < Count<layout::XattrRecord>(sections.xattrs); ++i) {
    const auto xattr = Load<layout::XattrRecord>(sections.xattrs, i);
    xattr_bytes.Mark(xattr.name_offset, xattr.name_size);
    xattr_bytes.Mark(xattr.value_offset, xattr.value_size);
  }
  for (uint64_t i = 1; i < Count<layout::InodeRecord>(sections.inodes); ++i) {
    const auto inode = Load<layout::InodeRecord>(sections.inodes, i);
    if (inode.xattr_set != 0) xattr_sets.Mark(inode.xattr_set - 1, 1);
    if (inode.sparse_set != 0) sparse_sets.Mark(inode.sparse_set - 1, 1);
    if (S_ISLNK(inode.mode) || (inode.mode & S_IFMT) == 0) {
      targets.Mark(inode.location, inode.size);
    }
  }
  names.Report("NAMES", findings);
  targets.Report("TARGETS", findings);
  xattr_sets.Report("XATTR_SETS", findings);
  xattr_bytes.Report("XATTR_BYTES", findings);
  sparse_sets.Report("SPARSE_SETS", findings);
}

class IndexChecker {
 public:
  explicit IndexChecker(const Index& index)
      : index_(index), names_(size_t{index.inode_count()} + 1), subdirectories_(names_.size()) {}

  std::vector<std::string> Run() {
    CountNames();
    for (uint32_t i = 2; i < names_.size(); ++i) CheckLinks(i);
    CheckDirectoryLinks(1);
    for (size_t i = 0; i < index_.layers().size(); ++i) CheckLayer(i);
    CheckOverlaps();
    const auto parsed = ParseSections(index_.bytes());
    if (parsed.has_value()) FindUnused(parsed->sections, findings_);
    return std::move(findings_).Take();
  }

 private:
  struct DataRun {
    uint16_t layer;
    uint64_t begin;
    uint64_t end;
    uint32_t inode;
  };

  void Find(std::string finding) { findings_.Add(std::move(finding)); }

  void CountNames() {
    for (uint32_t i = 1; i < names_.size(); ++i) {
      const InodeNumber directory{i};
      const Inode inode = index_.Get(directory);
      if (!inode.is_directory()) continue;
      for (uint32_t e = 0; e < inode.entry_count; ++e) {
        const Dirent entry = index_.EntryAt(directory, e);
        if (entry.is_whiteout()) continue;
        ++names_[ToUint(entry.inode)];
        if (index_.Get(entry.inode).is_directory()) ++subdirectories_[i];
      }
    }
  }

  void CheckLinks(uint32_t number) {
    const Inode inode = index_.Get(InodeNumber{number});
    if (names_[number] == 0) Find("inode " + std::to_string(number) + " has no name");
    if (inode.is_directory()) return CheckDirectoryLinks(number);
    if (!inode.unresolved_link && inode.nlink != names_[number]) {
      Find("inode " + std::to_string(number) + " says " + std::to_string(inode.nlink) +
           " links and has " + std::to_string(names_[number]) + " names");
    }
  }

  void CheckDirectoryLinks(uint32_t number) {
    const uint32_t expected = 2 + subdirectories_[number];
    const uint32_t nlink = index_.Get(InodeNumber{number}).nlink;
    if (nlink != expected) {
      Find("directory inode " + std::to_string(number) + " says " + std::to_string(nlink) +
           " links, not " + std::to_string(expected));
    }
  }

  void CheckLayer(size_t number) {
    const LayerInfo& layer = index_.layers()[number];
    const std::string name = "layer " + std::to_string(number);
    if (index_.kind() == IndexKind::kTree && (layer.blob.is_zero() || layer.blob_size == 0)) {
      Find(name + " names no blob");
    }
    if (layer.diff_id.is_zero()) Find(name + " has no diff ID");
    uint64_t covered = 0;
    std::vector<std::pair<uint64_t, uint64_t>> stored;
    for (uint32_t i = 0; i < layer.segment_count; ++i) {
      const SegmentRef segment = index_.Segment(layer.first_segment + i);
      stored.emplace_back(segment.ref.blob_offset, segment.ref.stored_size);
      covered = segment.tar_end;
    }
    if (covered != layer.tar_size) {
      Find("the chunk table of " + name + " ends at " + std::to_string(covered) + " of " +
           std::to_string(layer.tar_size));
    }
    std::ranges::sort(stored);
    for (size_t i = 1; i < stored.size(); ++i) {
      if (stored[i - 1].first + stored[i - 1].second > stored[i].first) {
        Find("segments of " + name + " overlap at blob offset " + std::to_string(stored[i].first));
      }
    }
  }

  // Two inodes may share a run (a link that became two files by the rules of the merge), but not a
  // part of one: then one of them is wrong.
  void CheckOverlaps() {
    std::vector<DataRun> runs;
    for (uint32_t i = 1; i < names_.size(); ++i) {
      const Inode inode = index_.Get(InodeNumber{i});
      if (!inode.is_regular()) continue;
      for (const DataExtent& extent : index_.DataExtents(InodeNumber{i}, 0, inode.size)) {
        runs.push_back(
            DataRun{ToUint(inode.layer), extent.tar_offset, extent.tar_offset + extent.size, i});
      }
    }
    std::sort(runs.begin(), runs.end(), [](const DataRun& a, const DataRun& b) {
      return std::tie(a.layer, a.begin, a.end) < std::tie(b.layer, b.begin, b.end);
    });
    for (size_t i = 1; i < runs.size(); ++i) {
      const DataRun& before = runs[i - 1];
      const DataRun& run = runs[i];
      const bool same = before.begin == run.begin && before.end == run.end;
      if (before.layer == run.layer && !same && run.begin < before.end) {
        Find("inodes " + std::to_string(before.inode) + " and " + std::to_string(run.inode) +
             " overlap at tar offset " + std::to_string(run.begin));
      }
    }
  }

  const Index& index_;
  std::vector<uint32_t> names_;           // of each inode
  std::vector<uint32_t> subdirectories_;  // of each directory
  Findings findings_;
};

}  // namespace

std::vector<std::string> CheckIndex(const Index& index) { return IndexChecker(index).Run(); }

std::vector<std::string> CheckSegment(const ChunkTableSegment& segment, uint64_t blob_size) {
  Findings findings;
  std::vector<const Chunk*> chunks;
  for (const Chunk& chunk : segment.chunks()) chunks.push_back(&chunk);
  std::ranges::sort(chunks, {}, [](const Chunk* chunk) { return chunk->ref.blob_offset; });
  uint64_t end = 0;
  for (const Chunk* chunk : chunks) {
    const ChunkRef& ref = chunk->ref;
    const std::string name = "chunk at tar offset " + std::to_string(chunk->tar_offset);
    if (!RangeFits(ref.blob_offset, ref.stored_size, blob_size)) {
      findings.Add(name + " lies outside the blob");
      continue;
    }
    if (ref.blob_offset < end) findings.Add(name + " overlaps another in the blob");
    end = std::max(end, ref.blob_offset + ref.stored_size);
  }
  return std::move(findings).Take();
}

std::vector<std::string> CheckContents(const Index& layer, const ChunkTableSegment& segment) {
  std::vector<std::pair<uint64_t, uint64_t>> payloads;
  for (uint32_t i = 1; i <= layer.inode_count(); ++i) {
    const Inode inode = layer.Get(InodeNumber{i});
    if (!inode.is_regular() || inode.size == 0 || layer.IsSparse(InodeNumber{i})) continue;
    payloads.emplace_back(inode.data_offset, inode.size);
  }
  std::ranges::sort(payloads);
  Findings findings;
  for (const Content& content : segment.contents()) {
    const auto payload =
        std::ranges::lower_bound(payloads, std::pair(content.tar_offset, uint64_t{0}));
    if (payload == payloads.end() || payload->first != content.tar_offset) continue;
    if (payload->second == content.size) continue;
    findings.Add("content at tar offset " + std::to_string(content.tar_offset) + " has " +
                 std::to_string(content.size) + " bytes, its file " +
                 std::to_string(payload->second));
  }
  return std::move(findings).Take();
}

}  // namespace layerfs

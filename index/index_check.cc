// SPDX-License-Identifier: Apache-2.0
#include "index/index_check.h"

#include <algorithm>
#include <tuple>

namespace layerfs {
namespace {

constexpr size_t kMaxFindings = 100;

class IndexChecker {
 public:
  explicit IndexChecker(const Index& index)
      : index_(index), names_(size_t{index.inode_count()} + 1), subdirectories_(names_.size()) {}

  std::vector<std::string> Run() {
    CountNames();
    for (uint32_t i = 2; i < names_.size(); ++i) CheckLinks(i);
    CheckDirectoryLinks(1);
    for (size_t i = 0; i < index_.layers().size(); ++i) CheckCoverage(i);
    CheckOverlaps();
    return std::move(findings_);
  }

 private:
  struct DataRun {
    uint16_t layer;
    uint64_t begin;
    uint64_t end;
    uint32_t inode;
  };

  void Find(std::string finding) {
    if (findings_.size() < kMaxFindings) findings_.push_back(std::move(finding));
  }

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

  void CheckCoverage(size_t layer_number) {
    const LayerInfo& layer = index_.layers()[layer_number];
    const uint64_t covered =
        layer.segment_count == 0
            ? 0
            : index_.Segment(layer.first_segment + layer.segment_count - 1).tar_end;
    if (covered != layer.tar_size) {
      Find("the chunk table of layer " + std::to_string(layer_number + 1) + " ends at " +
           std::to_string(covered) + " of " + std::to_string(layer.tar_size));
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
  std::vector<std::string> findings_;
};

}  // namespace

std::vector<std::string> CheckIndex(const Index& index) { return IndexChecker(index).Run(); }

}  // namespace layerfs

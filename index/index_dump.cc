// SPDX-License-Identifier: Apache-2.0
#include "index/index_dump.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cstdio>
#include <string>
#include <unordered_map>
#include <vector>

#include "index/path.h"

namespace layerfs {
namespace {

std::string Number(uint64_t value) { return std::to_string(value); }

std::string Range(uint64_t offset, uint64_t size) { return Number(offset) + "+" + Number(size); }

std::string_view TypeName(const Inode& inode) {
  if (inode.unresolved_link) return "link";
  switch (inode.mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "char";
    case S_IFBLK:
      return "block";
    case S_IFIFO:
      return "fifo";
    default:
      return "socket";
  }
}

std::string StoredWords(const ChunkRef& ref) {
  return "blob " + Range(ref.blob_offset, ref.stored_size) + " codec " +
         Number(static_cast<uint64_t>(ref.codec));
}

class Dumper {
 public:
  Dumper(const Index& index, const LineSink& sink) : index_(index), sink_(sink) {}

  Status DumpTables() const {
    LAYERFS_CHECK_OK(sink_(std::string(index_.kind() == IndexKind::kTree ? "tree" : "layer index") +
                           " " + Number(index_.layers().size()) + " layers, " +
                           Number(index_.segment_count()) + " segments"));
    for (size_t i = 0; i < index_.layers().size(); ++i) {
      const LayerInfo& layer = index_.layers()[i];
      LAYERFS_CHECK_OK(sink_("layer " + Number(i) + " blob " + layer.blob.ToString() + " " +
                             Number(layer.blob_size) + " diff-id " + layer.diff_id.ToString() +
                             " " + Number(layer.tar_size) + " segments " +
                             Range(layer.first_segment, layer.segment_count)));
    }
    for (uint32_t i = 0; i < index_.segment_count(); ++i) {
      const SegmentRef segment = index_.Segment(i);
      LAYERFS_CHECK_OK(sink_("segment " + Number(i) + " layer " + Number(ToUint(segment.layer)) +
                             " tar " +
                             Range(segment.tar_begin, segment.tar_end - segment.tar_begin) + " " +
                             StoredWords(segment.ref) + " size " + Number(segment.ref.size) + " " +
                             segment.ref.digest.ToString()));
    }
    return {};
  }

  // Depth first, in the order of the names. No recursion: a tree may be very deep.
  Status DumpPaths() {
    struct Level {
      InodeNumber directory;
      uint32_t next_entry;
      size_t path_size;
    };
    LAYERFS_CHECK_OK(DumpInode(kRootInode, "/"));
    std::string path;
    std::vector<Level> levels = {{kRootInode, 0, 0}};
    while (!levels.empty()) {
      Level& level = levels.back();
      path.resize(level.path_size);
      if (level.next_entry == index_.Get(level.directory).entry_count) {
        levels.pop_back();
        continue;
      }
      const Dirent entry = index_.EntryAt(level.directory, level.next_entry++);
      path += '/';
      path += entry.name;
      if (entry.is_whiteout()) {
        LAYERFS_CHECK_OK(sink_(Quoted(path) + " whiteout"));
        continue;
      }
      LAYERFS_CHECK_OK(DumpInode(entry.inode, path));
      if (index_.Get(entry.inode).is_directory()) levels.push_back({entry.inode, 0, path.size()});
    }
    return {};
  }

  Status DumpSegment(uint32_t number, const ChunkTableSegment& segment) const {
    for (size_t i = 0; i < segment.chunks().size(); ++i) {
      const Chunk& chunk = segment.chunks()[i];
      LAYERFS_CHECK_OK(sink_("chunk " + Number(i) + " segment " + Number(number) + " tar " +
                             Range(chunk.tar_offset, chunk.ref.size) + " " +
                             StoredWords(chunk.ref) + " " + chunk.ref.digest.ToString()));
    }
    for (const Content& content : segment.contents()) {
      LAYERFS_CHECK_OK(sink_("content segment " + Number(number) + " tar " +
                             Range(content.tar_offset, content.size) + " " +
                             content.digest.ToString()));
    }
    return {};
  }

 private:
  Status DumpInode(InodeNumber number, const std::string& path) {
    const Inode inode = index_.Get(number);
    std::array<char, 64> attributes;
    std::snprintf(attributes.data(), attributes.size(), " %04o %u:%u links %u mtime %lld.%09u",
                  inode.mode & 07777, inode.uid, inode.gid, inode.nlink,
                  static_cast<long long>(inode.mtime.seconds), inode.mtime.nanoseconds);
    std::string line = Quoted(path) + " " + std::string(TypeName(inode)) + attributes.data();
    if (inode.is_regular()) line += DataWords(number, inode);
    if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
      line += " device " + Number(major(inode.rdev)) + ":" + Number(minor(inode.rdev));
    }
    if (inode.implicit) line += " implicit";
    if (inode.opaque) line += " opaque";
    if (const std::string_view target = index_.Target(number); !target.empty()) {
      line += " target " + Quoted(target);
    }
    for (const Xattr& xattr : index_.Xattrs(number)) {
      line += " xattr " + Quoted(xattr.name) + "=" + Quoted(xattr.value);
    }
    if (inode.nlink > 1 && !inode.is_directory()) {
      const auto [first, is_new] = first_paths_.try_emplace(ToUint(number), path);
      if (!is_new) line += " same " + Quoted(first->second);
    }
    return sink_(line);
  }

  std::string DataWords(InodeNumber number, const Inode& inode) const {
    std::string words = " size " + Number(inode.size);
    if (inode.size == 0) return words;
    words += " data " + Number(ToUint(inode.layer)) + "@";
    if (!index_.IsSparse(number)) return words + Range(inode.data_offset, inode.size);
    words += "sparse";
    for (const DataExtent& extent : index_.DataExtents(number, 0, inode.size)) {
      words += " " + Number(extent.file_offset) + ":" + Range(extent.tar_offset, extent.size);
    }
    return words;
  }

  const Index& index_;
  const LineSink& sink_;
  std::unordered_map<uint32_t, std::string> first_paths_;  // of inodes with several names
};

}  // namespace

Status DumpIndex(const Index& index, std::span<const ChunkTableSegment> segments,
                 const LineSink& sink) {
  Dumper dumper(index, sink);
  LAYERFS_CHECK_OK(dumper.DumpTables());
  LAYERFS_CHECK_OK(dumper.DumpPaths());
  for (size_t i = 0; i < segments.size(); ++i) {
    LAYERFS_CHECK_OK(dumper.DumpSegment(static_cast<uint32_t>(i), segments[i]));
  }
  return {};
}

}  // namespace layerfs

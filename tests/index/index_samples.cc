// SPDX-License-Identifier: Apache-2.0
#include "tests/index/index_samples.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <string>

#include "index/index_writer.h"
#include "tests/index/index_reseal.h"

namespace layerfs {
namespace {

Inode MakeInode(uint32_t mode, uint32_t nlink = 1) {
  Inode inode;
  inode.mode = mode;
  inode.nlink = nlink;
  inode.mtime = Timestamp{1'700'000'000, 0};
  return inode;
}

Inode Regular(uint64_t size, LayerNumber layer, uint64_t data_offset) {
  Inode inode = MakeInode(S_IFREG | 0644);
  inode.size = size;
  inode.layer = layer;
  inode.data_offset = data_offset;
  return inode;
}

Inode Device(uint32_t mode, uint32_t major_number, uint32_t minor_number) {
  Inode inode = MakeInode(mode);
  inode.rdev = makedev(major_number, minor_number);
  return inode;
}

SegmentRef MakeSegment(LayerNumber layer, uint64_t tar_begin, uint64_t tar_end,
                       uint64_t blob_offset) {
  SegmentRef segment;
  segment.ref = ChunkRef{Digest::Of(AsBytes("segment " + std::to_string(tar_begin))), blob_offset,
                         10, 20, ChunkCodec::kZstdFrame};
  segment.layer = layer;
  segment.tar_begin = tar_begin;
  segment.tar_end = tar_end;
  return segment;
}

void Require(bool holds) {
  if (!holds) std::abort();
}

void WalkDirectory(const Index& index, InodeNumber directory, const Inode& inode) {
  std::string_view last;
  for (uint32_t i = 0; i < inode.entry_count; ++i) {
    const Dirent entry = index.EntryAt(directory, i);
    Require(entry.name > last && entry.name.size() <= 255);
    Require(entry.name.find('/') == std::string_view::npos);
    last = entry.name;
    const auto found = index.Lookup(directory, entry.name);
    Require(found.has_value() && found->inode == entry.inode);
    Require(entry.is_whiteout() ? index.kind() == IndexKind::kLayer : index.Contains(entry.inode));
    if (entry.is_whiteout()) continue;
    const Inode child = index.Get(entry.inode);
    Require(!child.is_directory() || child.parent == directory);
  }
}

void WalkFile(const Index& index, InodeNumber number, const Inode& inode) {
  uint64_t end = 0;
  for (const DataExtent& extent : index.DataExtents(number, 0, UINT64_MAX)) {
    Require(extent.size > 0 && extent.file_offset >= end);
    end = extent.file_offset + extent.size;
    Require(end <= inode.size);
    const LayerInfo& layer = index.layers()[ToUint(inode.layer)];
    Require(RangeFits(extent.tar_offset, extent.size, layer.tar_size));
    for (const uint64_t at : {extent.tar_offset, extent.tar_offset + extent.size - 1}) {
      const auto segment = index.FindSegment(inode.layer, at);
      if (!segment.has_value()) continue;
      const SegmentRef ref = index.Segment(*segment);
      Require(ref.layer == inode.layer && ref.tar_begin <= at && at < ref.tar_end);
    }
  }
}

}  // namespace

Bytes SampleTree() {
  IndexWriter writer(IndexKind::kTree);
  const LayerNumber low{0};
  const LayerNumber high{1};
  const InodeNumber root = writer.AddInode({.inode = MakeInode(S_IFDIR | 0755, 5)});
  const InodeNumber a = writer.AddInode({.inode = MakeInode(S_IFDIR | 01777, 2)});
  const InodeNumber bin = writer.AddInode({.inode = MakeInode(S_IFDIR | 0755, 2)});
  const InodeNumber dev = writer.AddInode({.inode = MakeInode(S_IFDIR | 0755, 2)});
  Inode old = Regular(100, low, 512);
  old.mtime = Timestamp{-5, 999'999'999};
  old.uid = 1000;
  old.gid = 4'294'967'294;
  const InodeNumber file = writer.AddInode({.inode = old});
  const InodeNumber link =
      writer.AddInode({.inode = MakeInode(S_IFLNK | 0777), .target = "a/../a/b"});
  const InodeNumber latin1 = writer.AddInode({.inode = Regular(7, high, 2048)});

  const std::vector<DataExtent> runs = {{4096, 1024, 100}, {8192, 1536, 8}};
  const InodeNumber sparse =
      writer.AddInode({.inode = Regular(10'000, low, 0), .sparse = true, .extents = runs});
  const InodeNumber empty = writer.AddInode({.inode = Regular(0, low, 0)});
  const InodeNumber hole =
      writer.AddInode({.inode = Regular(uint64_t{5} << 30, low, 0), .sparse = true});

  Inode shell = Regular(6000, low, 2560);
  shell.mode = S_IFREG | 04755;
  shell.nlink = 2;
  const std::vector<Xattr> xattrs = {{"user.z", ""},
                                     {"security.capability", std::string_view("\0\x01\xff", 3)}};
  const InodeNumber sh = writer.AddInode({.inode = shell, .xattrs = xattrs});

  const InodeNumber block = writer.AddInode({.inode = Device(S_IFBLK | 0660, 8, 1)});
  const InodeNumber character = writer.AddInode({.inode = Device(S_IFCHR | 0600, 300, 70'000)});
  const std::vector<Xattr> same = {xattrs[1], xattrs[0]};
  const InodeNumber fifo = writer.AddInode({.inode = MakeInode(S_IFIFO | 0600), .xattrs = same});
  const InodeNumber socket = writer.AddInode({.inode = MakeInode(S_IFSOCK | 0700)});

  writer.SetEntries(root, std::vector<Dirent>{{"a", a},
                                              {"bin", bin},
                                              {"dev", dev},
                                              {"file", file},
                                              {"link", link},
                                              {"na\xefve", latin1}});
  writer.SetEntries(a, std::vector<Dirent>{{"b", sparse}, {"empty", empty}, {"hole", hole}});
  writer.SetEntries(bin, std::vector<Dirent>{{"sh", sh}, {"sh2", sh}});
  writer.SetEntries(
      dev,
      std::vector<Dirent>{{"block", block}, {"char", character}, {"fifo", fifo}, {"sock", socket}});

  const std::vector<LayerInfo> layers = {
      {Digest::Of(AsBytes("blob 0")), 5000, Digest::Of(AsBytes("tar 0")), 10'240, 0, 2},
      {Digest::Of(AsBytes("blob 1")), 900, Digest::Of(AsBytes("tar 1")), 3072, 2, 1}};
  const std::vector<SegmentRef> segments = {MakeSegment(low, 0, 4096, 4000),
                                            MakeSegment(low, 4096, 10'240, 4018),
                                            MakeSegment(high, 0, 3072, 700)};
  return std::move(writer).Finish(layers, segments).value();
}

Bytes SampleLayer() {
  IndexWriter writer(IndexKind::kLayer);
  Inode implicit = MakeInode(S_IFDIR | 0755, 3);
  implicit.implicit = true;
  const InodeNumber root = writer.AddInode({.inode = implicit});
  Inode opaque = MakeInode(S_IFDIR | 0700, 2);
  opaque.opaque = true;
  const InodeNumber etc = writer.AddInode({.inode = opaque});
  Inode unresolved;
  unresolved.unresolved_link = true;
  unresolved.nlink = 1;
  const InodeNumber link = writer.AddInode({.inode = unresolved, .target = "usr/bin/perl5.36.0"});
  const InodeNumber file = writer.AddInode({.inode = Regular(12, LayerNumber{0}, 1536)});
  writer.SetEntries(root, std::vector<Dirent>{{"etc", etc}, {"gone", kNoInode}, {"perl", link}});
  writer.SetEntries(etc, std::vector<Dirent>{{"hosts", file}});
  const LayerInfo layer{Digest{}, 0, Digest::Of(AsBytes("tar")), 4096, 0, 1};
  return std::move(writer)
      .Finish({&layer, 1}, std::vector<SegmentRef>{MakeSegment(LayerNumber{0}, 0, 4096, 1000)})
      .value();
}

std::vector<Chunk> SampleChunks() {
  const auto make = [](std::string_view text, uint64_t blob_offset, uint32_t stored_size,
                       uint32_t size, uint64_t tar_offset, ChunkCodec codec) {
    return Chunk{ChunkRef{Digest::Of(AsBytes(text)), blob_offset, stored_size, size, codec},
                 tar_offset};
  };
  return {make("zero", 10'000, 20, 24, 1000, ChunkCodec::kZstdFrame),
          make("one", 10'020, 2048, 4096, 1024, ChunkCodec::kZstdFrame),
          make("two", 20'000, 80, 80, 5120, ChunkCodec::kStored)};
}

std::vector<Content> SampleContents() { return {{1024, 4150, Digest::Of(AsBytes("content"))}}; }

SegmentRef SampleSegmentRef() {
  SegmentRef where;
  where.tar_begin = 1000;
  where.tar_end = 5200;
  return where;
}

void Reseal(Bytes& index) { ResealIndex(index); }

uint64_t SectionOffset(const Bytes& index, layout::SectionId id) {
  const auto record = layout::Load<layout::SectionRecord>(
      ByteSpan(index).subspan(sizeof(layout::Header)), static_cast<uint32_t>(id) - 1);
  return record.offset;
}

uint64_t SectionSize(const Bytes& index, layout::SectionId id) {
  const auto record = layout::Load<layout::SectionRecord>(
      ByteSpan(index).subspan(sizeof(layout::Header)), static_cast<uint32_t>(id) - 1);
  return record.size;
}

void WalkIndex(const Index& index) {
  uint64_t file_bytes = 0;
  for (uint32_t i = 1; i <= index.inode_count(); ++i) {
    const InodeNumber number{i};
    const Inode inode = index.Get(number);
    Require(index.Target(number).find('\0') == std::string_view::npos);
    Require(index.HasXattrs(number) == !index.Xattrs(number).empty());
    for (const Xattr& xattr : index.Xattrs(number)) {
      Require(index.FindXattr(number, xattr.name) == xattr.value);
    }
    if (inode.is_directory()) {
      Require(i == 1 || ToUint(inode.parent) < i);
      WalkDirectory(index, number, inode);
    }
    if (inode.is_regular()) WalkFile(index, number, inode);
    file_bytes = CheckedAdd(file_bytes, inode.is_regular() ? inode.size : 0).value_or(UINT64_MAX);
  }
  Require(index.total_file_bytes() == file_bytes);
  for (uint32_t i = 0; i < index.segment_count(); ++i) {
    const SegmentRef segment = index.Segment(i);
    Require(index.FindSegment(segment.layer, segment.tar_begin) == i);
  }
}

}  // namespace layerfs

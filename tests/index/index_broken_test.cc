// SPDX-License-Identifier: Apache-2.0
// Indexes with one thing wrong each and all checksums right.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "index/index.h"
#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

using layout::DirentRecord;
using layout::Header;
using layout::InodeRecord;
using layout::LayerRecord;
using layout::SectionId;
using layout::SectionRecord;
using layout::SegmentRecord;
using layout::SetRecord;
using layout::SparseExtentRecord;
using layout::XattrRecord;

// Inodes and entries of the samples, by number; see index_samples.cc.
constexpr uint64_t kTreeA = 2;
constexpr uint64_t kTreeBin = 3;
constexpr uint64_t kTreeFile = 5;
constexpr uint64_t kTreeLink = 6;
constexpr uint64_t kTreeSparse = 8;
constexpr uint64_t kTreeEmpty = 9;
constexpr uint64_t kTreeHole = 10;
constexpr uint64_t kTreeFifo = 14;
constexpr uint64_t kLayerEtc = 2;
constexpr uint64_t kLayerLink = 3;

using Break = std::function<Bytes()>;

template <typename Record>
Break Tree(SectionId id, uint64_t position, void (*change)(Record&)) {
  return [=] { return WithRecord<Record>(SampleTree(), id, position, change); };
}
template <typename Record>
Break Layer(SectionId id, uint64_t position, void (*change)(Record&)) {
  return [=] { return WithRecord<Record>(SampleLayer(), id, position, change); };
}
Break TreeInode(uint64_t number, void (*change)(InodeRecord&)) {
  return Tree<InodeRecord>(SectionId::kInodes, number, change);
}
Break LayerInode(uint64_t number, void (*change)(InodeRecord&)) {
  return Layer<InodeRecord>(SectionId::kInodes, number, change);
}
Break TreeDirent(uint64_t position, void (*change)(DirentRecord&)) {
  return Tree<DirentRecord>(SectionId::kDirents, position, change);
}
Break TreeHeader(void (*change)(Header&)) {
  return [=] {
    Bytes index = SampleTree();
    Header header;
    std::memcpy(&header, index.data(), sizeof header);
    change(header);
    std::memcpy(index.data(), &header, sizeof header);
    Reseal(index);
    return index;
  };
}
Break TreeSection(SectionId id, void (*change)(SectionRecord&)) {
  return [=] {
    Bytes index = SampleTree();
    uint8_t* const at =
        index.data() + sizeof(Header) + (static_cast<uint32_t>(id) - 1) * sizeof(SectionRecord);
    SectionRecord record;
    std::memcpy(&record, at, sizeof record);
    change(record);
    std::memcpy(at, &record, sizeof record);
    Reseal(index);
    return index;
  };
}
// The byte at `position` of a section of bytes.
Break TreeByte(SectionId id, uint64_t position, uint8_t byte) {
  return [=] {
    Bytes index = SampleTree();
    index[SectionOffset(index, id) + position] = byte;
    Reseal(index);
    return index;
  };
}

struct BrokenCase {
  const char* why;
  const char* message;  // part of the error
  Break make;
};

class ShouldFail : public ::testing::TestWithParam<BrokenCase> {};

TEST_P(ShouldFail, IsRefusedAsCorrupt) {
  const auto opened = Index::Open(GetParam().make());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(opened.error().context.find(GetParam().message), std::string::npos)
      << opened.error().context;
}

std::string WhyOf(const ::testing::TestParamInfo<BrokenCase>& info) { return info.param.why; }

INSTANTIATE_TEST_SUITE_P(
    Header, ShouldFail,
    ::testing::Values(
        BrokenCase{"Magic", "not a layerfs index", TreeHeader([](Header& h) { h.magic[7] = 'X'; })},
        BrokenCase{"KindZero", "kind", TreeHeader([](Header& h) { h.kind = 0; })},
        BrokenCase{"KindThree", "kind", TreeHeader([](Header& h) { h.kind = 3; })},
        BrokenCase{"SizeTooSmall", "bytes", TreeHeader([](Header& h) { h.file_size -= 64; })},
        BrokenCase{"SizeTooLarge", "bytes", TreeHeader([](Header& h) { h.file_size += 64; })},
        BrokenCase{"ReservedWord", "reserved", TreeHeader([](Header& h) { h.zero0 = 1; })},
        BrokenCase{"ReservedLong", "reserved", TreeHeader([](Header& h) { h.zero1 = 1; })},
        BrokenCase{"NoSections", "missing", TreeHeader([](Header& h) { h.section_count = 0; })},
        BrokenCase{"TooManySections", "too many sections",
                   TreeHeader([](Header& h) { h.section_count = 65; })},
        BrokenCase{"TableReachesIntoTheSections", "not where it must be",
                   TreeHeader([](Header& h) { h.section_count = 64; })}),
    WhyOf);

INSTANTIATE_TEST_SUITE_P(
    SectionTable, ShouldFail,
    ::testing::Values(
        BrokenCase{"SameIdTwice", "out of order",
                   TreeSection(SectionId::kDirents, [](SectionRecord& s) { s.id = 2; })},
        BrokenCase{"IdZero", "out of order",
                   TreeSection(SectionId::kLayers, [](SectionRecord& s) { s.id = 0; })},
        BrokenCase{"UnknownInsteadOfKnown", "missing",
                   TreeSection(SectionId::kSegments, [](SectionRecord& s) { s.id = 99; })},
        BrokenCase{"RecordSize", "record size",
                   TreeSection(SectionId::kInodes, [](SectionRecord& s) { s.record_size = 32; })},
        BrokenCase{"PartOfARecord", "record size",
                   TreeSection(SectionId::kInodes, [](SectionRecord& s) { s.size -= 1; })},
        BrokenCase{"BeyondTheEnd", "not where it must be",
                   TreeSection(SectionId::kSegments, [](SectionRecord& s) { s.size = 1 << 20; })},
        BrokenCase{"SizeOverflows", "not where it must be",
                   TreeSection(SectionId::kNames, [](SectionRecord& s) { s.size = UINT64_MAX; })},
        BrokenCase{"OffsetNotAligned", "not where it must be",
                   TreeSection(SectionId::kNames, [](SectionRecord& s) { s.offset += 1; })},
        BrokenCase{"OverlapsTheOneBefore", "not where it must be",
                   TreeSection(SectionId::kNames, [](SectionRecord& s) { s.offset -= 64; })},
        BrokenCase{"Gap", "not where it must be",
                   TreeSection(SectionId::kNames, [](SectionRecord& s) { s.offset += 64; })}),
    WhyOf);

INSTANTIATE_TEST_SUITE_P(
    Layers, ShouldFail,
    ::testing::Values(
        BrokenCase{"Reserved", "LAYERS record 0",
                   Tree<LayerRecord>(SectionId::kLayers, 0, [](LayerRecord& l) { l.zero = 1; })},
        BrokenCase{"TarSizeNegative", "LAYERS record 1",
                   Tree<LayerRecord>(SectionId::kLayers, 1,
                                     [](LayerRecord& l) { l.tar_size = UINT64_MAX; })},
        BrokenCase{
            "SegmentsNotFromZero", "LAYERS record 0",
            Tree<LayerRecord>(SectionId::kLayers, 0, [](LayerRecord& l) { l.first_segment = 1; })},
        BrokenCase{
            "SegmentsOverlapTheLastLayers", "LAYERS record 1",
            Tree<LayerRecord>(SectionId::kLayers, 1, [](LayerRecord& l) { l.first_segment = 1; })},
        BrokenCase{"SegmentsBeyondTheTable", "LAYERS record 1",
                   Tree<LayerRecord>(SectionId::kLayers, 1,
                                     [](LayerRecord& l) { l.segment_count = UINT32_MAX; })},
        BrokenCase{
            "SegmentOfNoLayer", "belong to no layer",
            Tree<LayerRecord>(SectionId::kLayers, 1, [](LayerRecord& l) { l.segment_count = 0; })},
        BrokenCase{
            "ALayerIndexNamesABlob", "names a blob",
            Layer<LayerRecord>(SectionId::kLayers, 0, [](LayerRecord& l) { l.blob[3] = 1; })},
        BrokenCase{
            "ALayerIndexHasABlobSize", "names a blob",
            Layer<LayerRecord>(SectionId::kLayers, 0, [](LayerRecord& l) { l.blob_size = 9; })}),
    WhyOf);

INSTANTIATE_TEST_SUITE_P(
    Segments, ShouldFail,
    ::testing::Values(
        BrokenCase{
            "OfAnotherLayer", "SEGMENTS record 1",
            Tree<SegmentRecord>(SectionId::kSegments, 1, [](SegmentRecord& s) { s.layer = 1; })},
        BrokenCase{"NotFromZero", "SEGMENTS record 2",
                   Tree<SegmentRecord>(SectionId::kSegments, 2,
                                       [](SegmentRecord& s) { s.tar_begin = 1; })},
        BrokenCase{"Gap", "SEGMENTS record 1",
                   Tree<SegmentRecord>(SectionId::kSegments, 1,
                                       [](SegmentRecord& s) { s.tar_begin = 4097; })},
        BrokenCase{"Empty", "SEGMENTS record 1",
                   Tree<SegmentRecord>(SectionId::kSegments, 1,
                                       [](SegmentRecord& s) { s.tar_end = 4096; })},
        BrokenCase{"BeyondTheTar", "SEGMENTS record 1",
                   Tree<SegmentRecord>(SectionId::kSegments, 1,
                                       [](SegmentRecord& s) { s.tar_end = 10'241; })},
        BrokenCase{"BeyondTheBlob", "SEGMENTS record 0",
                   Tree<SegmentRecord>(SectionId::kSegments, 0,
                                       [](SegmentRecord& s) { s.blob_offset = 4991; })},
        BrokenCase{"PlaceOverflows", "SEGMENTS record 0",
                   Tree<SegmentRecord>(SectionId::kSegments, 0,
                                       [](SegmentRecord& s) { s.blob_offset = UINT64_MAX; })},
        BrokenCase{
            "NoBytes", "SEGMENTS record 0",
            Tree<SegmentRecord>(SectionId::kSegments, 0, [](SegmentRecord& s) { s.size = 0; })},
        BrokenCase{"NoStoredBytes", "SEGMENTS record 0",
                   Tree<SegmentRecord>(SectionId::kSegments, 0,
                                       [](SegmentRecord& s) { s.stored_size = 0; })},
        BrokenCase{"TooLarge", "SEGMENTS record 0",
                   Tree<SegmentRecord>(SectionId::kSegments, 0,
                                       [](SegmentRecord& s) { s.size = kMaxChunkBytes + 1; })},
        BrokenCase{
            "ReservedCodec", "SEGMENTS record 0",
            Tree<SegmentRecord>(SectionId::kSegments, 0, [](SegmentRecord& s) { s.codec = 2; })},
        BrokenCase{
            "Reserved", "SEGMENTS record 0",
            Tree<SegmentRecord>(SectionId::kSegments, 0, [](SegmentRecord& s) { s.zero[4] = 1; })}),
    WhyOf);

INSTANTIATE_TEST_SUITE_P(
    Inodes, ShouldFail,
    ::testing::Values(
        BrokenCase{"RecordZeroInUse", "INODES record 0",
                   TreeInode(0, [](InodeRecord& i) { i.uid = 1; })},
        BrokenCase{"RootIsAFile", "INODES record 1",
                   TreeInode(1, [](InodeRecord& i) { i.mode = 0100644; })},
        BrokenCase{"RootHasAParent", "parent", TreeInode(1, [](InodeRecord& i) { i.parent = 2; })},
        BrokenCase{"ReservedShort", "INODES record 5",
                   TreeInode(kTreeFile, [](InodeRecord& i) { i.zero0 = 1; })},
        BrokenCase{"ReservedWord", "INODES record 5",
                   TreeInode(kTreeFile, [](InodeRecord& i) { i.zero1 = 1; })},
        BrokenCase{
            "Nanoseconds", "nanoseconds",
            TreeInode(kTreeFile, [](InodeRecord& i) { i.mtime_nanoseconds = 1'000'000'000; })},
        BrokenCase{"XattrSetOutside", "xattrs",
                   TreeInode(kTreeFile, [](InodeRecord& i) { i.xattr_set = 2; })},
        BrokenCase{"UnknownType", "unknown file type",
                   TreeInode(kTreeFile,
                             [](InodeRecord& i) {
                               i.mode = 0030644;
                               i.layer = 0;
                             })},
        BrokenCase{"UnknownFlag", "flags",
                   LayerInode(kLayerEtc, [](InodeRecord& i) { i.flags |= 8; })},
        BrokenCase{"ImplicitInATree", "flags",
                   TreeInode(kTreeA, [](InodeRecord& i) { i.flags = layout::kFlagImplicit; })},
        BrokenCase{"OpaqueInATree", "flags",
                   TreeInode(kTreeA, [](InodeRecord& i) { i.flags = layout::kFlagOpaque; })},
        BrokenCase{"UnresolvedInATree", "flags",
                   TreeInode(kTreeLink,
                             [](InodeRecord& i) {
                               i.mode = 0;
                               i.flags = layout::kFlagUnresolvedLink;
                             })},
        BrokenCase{"OpaqueFile", "flags",
                   LayerInode(4, [](InodeRecord& i) { i.flags = layout::kFlagOpaque; })},
        BrokenCase{
            "UnresolvedDirectory", "flags",
            LayerInode(kLayerEtc, [](InodeRecord& i) { i.flags = layout::kFlagUnresolvedLink; })},
        BrokenCase{"NoTypeAndNoLink", "flags",
                   LayerInode(kLayerLink, [](InodeRecord& i) { i.flags = 0; })},
        BrokenCase{"FileWithAParent", "does not have",
                   TreeInode(kTreeFile, [](InodeRecord& i) { i.parent = 1; })},
        BrokenCase{"SymlinkWithALayer", "does not have",
                   TreeInode(kTreeLink, [](InodeRecord& i) { i.layer = 1; })},
        BrokenCase{"FifoWithASize", "does not have",
                   TreeInode(kTreeFifo, [](InodeRecord& i) { i.size = 1; })},
        BrokenCase{"FifoWithAPlace", "does not have",
                   TreeInode(kTreeFifo, [](InodeRecord& i) { i.location = 1; })},
        BrokenCase{"EmptyFileWithAPlace", "place",
                   TreeInode(kTreeEmpty, [](InodeRecord& i) { i.location = 512; })},
        BrokenCase{"EmptyFileWithALayer", "does not have",
                   TreeInode(kTreeEmpty, [](InodeRecord& i) { i.layer = 1; })},
        BrokenCase{"FileSizeNegative", "file size",
                   TreeInode(kTreeHole, [](InodeRecord& i) { i.size = uint64_t{1} << 63; })},
        BrokenCase{"LayerOutside", "layer",
                   TreeInode(kTreeFile, [](InodeRecord& i) { i.layer = 2; })},
        BrokenCase{"DataOutsideTheTar", "outside the layer's tar",
                   TreeInode(kTreeFile, [](InodeRecord& i) { i.location = 10'141; })},
        BrokenCase{"DataOverflows", "outside the layer's tar",
                   TreeInode(kTreeFile, [](InodeRecord& i) { i.location = UINT64_MAX - 10; })},
        BrokenCase{"SparseSetOutside", "sparse set",
                   TreeInode(kTreeSparse, [](InodeRecord& i) { i.sparse_set = 3; })},
        BrokenCase{"SparseFileWithAPlace", "sparse set",
                   TreeInode(kTreeSparse, [](InodeRecord& i) { i.location = 512; })},
        BrokenCase{"SparseDataOutsideTheFile", "sparse data",
                   TreeInode(kTreeSparse, [](InodeRecord& i) { i.size = 8199; })},
        BrokenCase{"SparseDataOutsideTheTar", "sparse data",
                   Tree<SparseExtentRecord>(SectionId::kSparseExtents, 1,
                                            [](SparseExtentRecord& e) { e.tar_offset = 10'233; })},
        BrokenCase{"EmptyTarget", "link target",
                   TreeInode(kTreeLink, [](InodeRecord& i) { i.size = 0; })},
        BrokenCase{"TargetOutside", "link target",
                   TreeInode(kTreeLink, [](InodeRecord& i) { i.location = 1; })},
        BrokenCase{"TargetOverflows", "link target",
                   TreeInode(kTreeLink, [](InodeRecord& i) { i.location = UINT64_MAX; })},
        BrokenCase{"TargetTooLong", "link target",
                   TreeInode(kTreeLink, [](InodeRecord& i) { i.size = 4096; })}),
    WhyOf);

INSTANTIATE_TEST_SUITE_P(
    Directories, ShouldFail,
    ::testing::Values(
        BrokenCase{"WithASize", "directory entries",
                   TreeInode(kTreeA, [](InodeRecord& i) { i.size = 1; })},
        BrokenCase{
            "EntriesOutside", "directory entries",
            TreeInode(kTreeA, [](InodeRecord& i) { i.location = layout::PackEntries(6, 99); })},
        BrokenCase{"EntriesOverflow", "directory entries",
                   TreeInode(kTreeA,
                             [](InodeRecord& i) {
                               i.location = layout::PackEntries(UINT32_MAX, UINT32_MAX);
                             })},
        BrokenCase{
            "EmptyWithAPlace", "place",
            TreeInode(kTreeA, [](InodeRecord& i) { i.location = layout::PackEntries(6, 0); })},
        BrokenCase{
            "EntriesOfAnother", "in two directories",
            TreeInode(kTreeA, [](InodeRecord& i) { i.location = layout::PackEntries(9, 2); })},
        BrokenCase{
            "EntriesOfNobody", "belong to no directory",
            TreeInode(kTreeA, [](InodeRecord& i) { i.location = layout::PackEntries(6, 2); })},
        BrokenCase{"ParentIsItself", "parent",
                   TreeInode(kTreeA, [](InodeRecord& i) { i.parent = kTreeA; })},
        BrokenCase{"ParentIsLater", "parent",
                   TreeInode(kTreeA, [](InodeRecord& i) { i.parent = kTreeBin; })},
        BrokenCase{"NoParent", "parent", TreeInode(kTreeA, [](InodeRecord& i) { i.parent = 0; })},
        BrokenCase{"ParentDoesNotHaveIt", "another parent",
                   TreeInode(kTreeBin, [](InodeRecord& i) { i.parent = kTreeA; })},
        BrokenCase{"TwoNames", "another parent or name",
                   TreeDirent(1, [](DirentRecord& d) { d.inode = kTreeA; })},
        BrokenCase{"NoName", "without a name",
                   TreeDirent(1, [](DirentRecord& d) { d.inode = kTreeFile; })},
        BrokenCase{"ContainsTheRoot", "another parent or name",
                   TreeDirent(3, [](DirentRecord& d) { d.inode = 1; })}),
    WhyOf);

INSTANTIATE_TEST_SUITE_P(
    Entries, ShouldFail,
    ::testing::Values(
        BrokenCase{"EmptyName", "name", TreeDirent(0, [](DirentRecord& d) { d.name_size = 0; })},
        BrokenCase{"NameTooLong", "name",
                   TreeDirent(0, [](DirentRecord& d) { d.name_size = 256; })},
        BrokenCase{"NameOutside", "name",
                   TreeDirent(0, [](DirentRecord& d) { d.name_offset = UINT32_MAX; })},
        BrokenCase{"Reserved", "name", TreeDirent(0, [](DirentRecord& d) { d.zero = 1; })},
        BrokenCase{"InodeOutside", "inode", TreeDirent(3, [](DirentRecord& d) { d.inode = 16; })},
        BrokenCase{"WhiteoutInATree", "whiteout",
                   TreeDirent(3, [](DirentRecord& d) { d.inode = 0; })},
        BrokenCase{"SameNameTwice", "out of order",
                   TreeDirent(10,
                              [](DirentRecord& d) {
                                d.name_offset -= 2;
                                d.name_size = 2;
                              })},
        BrokenCase{"NotSorted", "out of order", TreeByte(SectionId::kNames, 0, 'z')},
        BrokenCase{"Dot", "dot", TreeByte(SectionId::kNames, 0, '.')},
        BrokenCase{"Slash", "NAMES", TreeByte(SectionId::kNames, 2, '/')},
        BrokenCase{"NulInAName", "NAMES", TreeByte(SectionId::kNames, 2, 0)},
        BrokenCase{"NulInATarget", "TARGETS", TreeByte(SectionId::kTargets, 0, 0)}),
    WhyOf);

INSTANTIATE_TEST_SUITE_P(
    Sets, ShouldFail,
    ::testing::Values(
        BrokenCase{"XattrSetNotFromZero", "XATTR_SETS",
                   Tree<SetRecord>(SectionId::kXattrSets, 0, [](SetRecord& s) { s.first = 1; })},
        BrokenCase{"XattrSetTooLong", "XATTR_SETS",
                   Tree<SetRecord>(SectionId::kXattrSets, 0, [](SetRecord& s) { s.count = 3; })},
        BrokenCase{"XattrOfNoSet", "belong to no set",
                   Tree<SetRecord>(SectionId::kXattrSets, 0, [](SetRecord& s) { s.count = 1; })},
        BrokenCase{"XattrSetEmpty", "empty set",
                   Tree<SetRecord>(SectionId::kXattrSets, 0, [](SetRecord& s) { s.count = 0; })},
        BrokenCase{
            "XattrNameEmpty", "XATTRS record 0",
            Tree<XattrRecord>(SectionId::kXattrs, 0, [](XattrRecord& x) { x.name_size = 0; })},
        BrokenCase{
            "XattrNameOutside", "XATTRS record 0",
            Tree<XattrRecord>(SectionId::kXattrs, 0, [](XattrRecord& x) { x.name_offset = 1000; })},
        BrokenCase{"XattrValueOutside", "XATTRS record 0",
                   Tree<XattrRecord>(SectionId::kXattrs, 0,
                                     [](XattrRecord& x) { x.value_offset = UINT32_MAX; })},
        BrokenCase{"XattrValueTooLong", "XATTRS record 0",
                   Tree<XattrRecord>(SectionId::kXattrs, 0,
                                     [](XattrRecord& x) { x.value_size = 65'537; })},
        BrokenCase{"XattrReserved", "XATTRS record 0",
                   Tree<XattrRecord>(SectionId::kXattrs, 0, [](XattrRecord& x) { x.zero = 1; })},
        BrokenCase{"XattrsNotSorted", "XATTRS record 1", TreeByte(SectionId::kXattrBytes, 0, 'v')},
        BrokenCase{"NulInAnXattrName", "XATTRS record 0", TreeByte(SectionId::kXattrBytes, 3, 0)},
        BrokenCase{"SparseSetsOverlap", "SPARSE_SETS record 1",
                   Tree<SetRecord>(SectionId::kSparseSets, 1, [](SetRecord& s) { s.first = 1; })},
        BrokenCase{"SparseExtentOfNoSet", "does not follow",
                   Tree<SetRecord>(SectionId::kSparseSets, 0, [](SetRecord& s) { s.count = 0; })},
        BrokenCase{"SparseExtentEmpty", "SPARSE_EXTENTS record 0",
                   Tree<SparseExtentRecord>(SectionId::kSparseExtents, 0,
                                            [](SparseExtentRecord& e) { e.size = 0; })},
        BrokenCase{"SparseExtentsOverlapInTheFile", "SPARSE_EXTENTS record 1",
                   Tree<SparseExtentRecord>(SectionId::kSparseExtents, 1,
                                            [](SparseExtentRecord& e) { e.file_offset = 4195; })},
        BrokenCase{"SparseExtentsOverlapInTheTar", "SPARSE_EXTENTS record 1",
                   Tree<SparseExtentRecord>(SectionId::kSparseExtents, 1,
                                            [](SparseExtentRecord& e) { e.tar_offset = 1123; })},
        BrokenCase{"SparseExtentOverflows", "SPARSE_EXTENTS record 1",
                   Tree<SparseExtentRecord>(SectionId::kSparseExtents, 1,
                                            [](SparseExtentRecord& e) { e.size = UINT64_MAX; })}),
    WhyOf);

TEST(IndexBrokenTest, TheSamplesThemselvesAreSound) {
  for (Bytes bytes : {SampleTree(), SampleLayer()}) {
    const auto opened = Index::Open(std::move(bytes));
    ASSERT_TRUE(opened.has_value()) << opened.error().context;
    WalkIndex(*opened);
  }
}

// Every 2, 4 and 8 bytes of the index, set to values that like to be wrong.
TEST(IndexBrokenTest, EveryFieldWithEveryOddValueIsRefusedOrHarmless) {
  int refused = 0;
  int accepted = 0;
  for (const Bytes& good : {SampleTree(), SampleLayer()}) {
    for (const size_t width : {2, 4, 8}) {
      for (size_t at = 0; at + width <= good.size(); at += width) {
        uint64_t value = 0;
        std::memcpy(&value, good.data() + at, width);
        for (const uint64_t odd : {uint64_t{0}, uint64_t{1}, value + 1, value - 1, value ^ 0x80,
                                   uint64_t{0x7fffffff}, UINT64_MAX}) {
          Bytes bad = good;
          std::memcpy(bad.data() + at, &odd, width);
          if (at >= offsetof(Header, section_count)) Reseal(bad);
          const auto opened = Index::Open(std::move(bad));
          if (opened.has_value()) WalkIndex(*opened);
          ++(opened.has_value() ? accepted : refused);
        }
      }
    }
  }
  EXPECT_GT(refused, 10'000);
  EXPECT_GT(accepted, 1000);  // Owners, times, permissions: any value is good.
}

TEST(IndexBrokenTest, EveryFlippedByteWithoutNewChecksumsIsRefused) {
  const Bytes good = SampleTree();
  for (size_t at = 0; at < good.size(); ++at) {
    for (const uint8_t flip : {0x01, 0x80, 0xff}) {
      Bytes bad = good;
      bad[at] ^= flip;
      EXPECT_FALSE(Index::Open(std::move(bad)).has_value()) << at;
    }
  }
}

TEST(IndexBrokenTest, EveryTruncationIsRefused) {
  const Bytes good = SampleTree();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(
        Index::Open(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size))).has_value());
  }
  Bytes longer = good;
  longer.push_back(0);
  EXPECT_FALSE(Index::Open(std::move(longer)).has_value());
}

}  // namespace
}  // namespace layerfs

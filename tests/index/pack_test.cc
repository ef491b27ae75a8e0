// SPDX-License-Identifier: Apache-2.0
#include "index/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "index/base/file.h"
#include "tests/index/index_samples.h"

namespace layerfs {
namespace {

constexpr size_t kParts = 112;  // where the table of parts begins
constexpr size_t kPartBytes = 48;

Index SampleIndex() { return std::move(*Index::Open(SampleTree())); }

// A regular file of the sample tree that is not empty.
InodeNumber FileOf(const Index& tree) {
  for (uint32_t i = 1; i <= tree.inode_count(); ++i) {
    const Inode inode = tree.Get(InodeNumber{i});
    if (inode.is_regular() && inode.size > 0) return InodeNumber{i};
  }
  return kNoInode;
}

PackHead SampleHead() {
  PackHead head;
  head.image = Digest::Of(AsBytes("image"));
  head.pages_digest = Digest::Of(AsBytes("pages"));
  head.page_count = 3;
  head.run_count = 2;
  head.bare_run_count = 1;
  head.parts = {{PackPartKind::kTree, 100, 1216, Digest::Of(AsBytes("tree"))},
                {PackPartKind::kConfig, 50, 300, Digest::Of(AsBytes("config"))},
                {PackPartKind::kRuns, 30, 36, Digest::Of(AsBytes("runs"))},
                {PackPartKind::kPages, 700, 8192, Digest::Of(AsBytes("first"))},
                {PackPartKind::kPages, 300, 4096, Digest::Of(AsBytes("second"))},
                {PackPartKind::kSegments, 80, 90, Digest::Of(AsBytes("segments"))}};
  return head;
}

TEST(PackHead, TheGoldenFileOfVersion1StaysReadableAndIsWrittenTheSame) {
  const auto golden =
      ReadFile(std::string(LAYERFS_GOLDEN_DIR) + "/startup-v1/pack.head", kMaxPackHeadBytes);
  ASSERT_TRUE(golden.has_value());
  EXPECT_EQ(SampleHead().Encode(), *golden);
  const auto head = PackHead::Decode(*golden);
  ASSERT_TRUE(head.has_value()) << head.error().context;
  EXPECT_EQ(head->parts, SampleHead().parts);
  EXPECT_EQ(head->image, SampleHead().image);
  EXPECT_EQ(head->EncodedSize(), golden->size());
  EXPECT_EQ(head->BlobSize(), golden->size() + 1260);
}

struct BrokenHead {
  const char* name;
  std::function<void(Bytes&)> change;
  ErrorCode code = ErrorCode::kCorrupt;
};

void Put(Bytes& bytes, size_t at, uint32_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

class BrokenHeadTest : public testing::TestWithParam<BrokenHead> {};

TEST_P(BrokenHeadTest, IsRefused) {
  Bytes bytes = SampleHead().Encode();
  GetParam().change(bytes);
  const auto head = PackHead::Decode(bytes);
  ASSERT_FALSE(head.has_value());
  EXPECT_EQ(head.error().code, GetParam().code) << head.error().context;
  EXPECT_THAT(head.error().context, testing::StartsWith("startup pack: "));
}

INSTANTIATE_TEST_SUITE_P(
    PackHead, BrokenHeadTest,
    testing::Values(
        BrokenHead{"Empty", [](Bytes& b) { b.clear(); }},
        BrokenHead{"Magic", [](Bytes& b) { b[0] ^= 1; }},
        BrokenHead{"Version", [](Bytes& b) { Put(b, 8, 2); }, ErrorCode::kUnsupported},
        BrokenHead{"Incompat", [](Bytes& b) { b[24] = 1; }, ErrorCode::kUnsupported},
        BrokenHead{"CutOff", [](Bytes& b) { b.pop_back(); }},
        BrokenHead{"Longer", [](Bytes& b) { b.push_back(0); }},
        BrokenHead{"MoreParts", [](Bytes& b) { Put(b, 12, 7); }},
        BrokenHead{"AllTheParts", [](Bytes& b) { Put(b, 12, 0xffffffff); }, ErrorCode::kTooLarge},
        BrokenHead{"TooManyPages", [](Bytes& b) { Put(b, 96, kMaxPackPages + 1); },
                   ErrorCode::kTooLarge},
        BrokenHead{"PagesThatDoNotAddUp", [](Bytes& b) { Put(b, 96, 4); }},
        BrokenHead{"NotZero", [](Bytes& b) { Put(b, 108, 1); }},
        BrokenHead{"PartNotZero", [](Bytes& b) { Put(b, kParts + 12, 1); }},
        BrokenHead{"UnknownKind", [](Bytes& b) { Put(b, kParts, 6); }},
        BrokenHead{"TwoTrees", [](Bytes& b) { Put(b, kParts + kPartBytes, 1); }},
        BrokenHead{"SegmentsFirst", [](Bytes& b) { Put(b, kParts, 5); }},
        BrokenHead{"NoRuns", [](Bytes& b) { Put(b, kParts + 2 * kPartBytes, 4); }},
        BrokenHead{"EmptyPart", [](Bytes& b) { Put(b, kParts + 4, 0); }},
        BrokenHead{"HugePart", [](Bytes& b) { Put(b, kParts + 3 * kPartBytes + 8, 1U << 30); }},
        BrokenHead{"HalfAPage", [](Bytes& b) { Put(b, kParts + 3 * kPartBytes + 8, 8191); }}),
    [](const auto& info) { return info.param.name; });

PackHead HeadFor(uint32_t pages, uint32_t runs, uint32_t bare) {
  PackHead head;
  head.page_count = pages;
  head.run_count = runs;
  head.bare_run_count = bare;
  return head;
}

TEST(PackRuns, ComeBackAsTheyWere) {
  const Index tree = SampleIndex();
  const std::vector<PackRun> runs = {{FileOf(tree), 0, 1}};
  const auto decoded = DecodePackRuns(EncodePackRuns(runs), HeadFor(1, 1, 0), tree);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().context;
  EXPECT_EQ(*decoded, runs);
}

struct BrokenRuns {
  const char* name;
  std::function<std::vector<PackRun>(const Index&)> make;
  PackHead head;
};

class BrokenRunsTest : public testing::TestWithParam<BrokenRuns> {};

TEST_P(BrokenRunsTest, AreRefused) {
  const Index tree = SampleIndex();
  const auto runs = DecodePackRuns(EncodePackRuns(GetParam().make(tree)), GetParam().head, tree);
  ASSERT_FALSE(runs.has_value());
  EXPECT_EQ(runs.error().code, ErrorCode::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(
    PackRuns, BrokenRunsTest,
    testing::Values(
        BrokenRuns{"OfNobody",
                   [](const Index&) { return std::vector<PackRun>{{InodeNumber{0}, 0, 1}}; },
                   HeadFor(1, 1, 0)},
        BrokenRuns{"OfAnInodeBeyondTheTree",
                   [](const Index& t) {
                     return std::vector<PackRun>{{InodeNumber{t.inode_count() + 1}, 0, 1}};
                   },
                   HeadFor(1, 1, 0)},
        BrokenRuns{"OfADirectory",
                   [](const Index&) { return std::vector<PackRun>{{kRootInode, 0, 1}}; },
                   HeadFor(1, 1, 0)},
        BrokenRuns{"BehindTheFilesEnd",
                   [](const Index& t) {
                     return std::vector<PackRun>{{FileOf(t), 0xffffffff, 0xffffffff}};
                   },
                   HeadFor(0xffffffff, 1, 0)},
        BrokenRuns{"WithoutPages",
                   [](const Index& t) { return std::vector<PackRun>{{FileOf(t), 0, 0}}; },
                   HeadFor(0, 1, 0)},
        BrokenRuns{"Twice",
                   [](const Index& t) {
                     return std::vector<PackRun>{{FileOf(t), 0, 1}, {FileOf(t), 0, 1}};
                   },
                   HeadFor(1, 1, 1)},
        BrokenRuns{"ThatDoNotAddUp",
                   [](const Index& t) { return std::vector<PackRun>{{FileOf(t), 0, 1}}; },
                   HeadFor(2, 1, 0)},
        BrokenRuns{"FewerThanTheHeadSays",
                   [](const Index& t) { return std::vector<PackRun>{{FileOf(t), 0, 1}}; },
                   HeadFor(1, 2, 0)}),
    [](const auto& info) { return info.param.name; });

TEST(PackSegments, OfOtherBytesThanTheTreesAreRefused) {
  const Index tree = SampleIndex();
  ASSERT_GT(tree.segment_count(), 0U);
  const Bytes wrong(tree.Segment(0).ref.size, 1);
  const PackSegment segment{0, wrong};
  const auto decoded = DecodePackSegments(EncodePackSegments({&segment, 1}), tree);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code, ErrorCode::kDigestMismatch);
}

TEST(PackSegments, CutOffOrOfNoSuchNumberAreRefused) {
  const Index tree = SampleIndex();
  const PackSegment unknown{tree.segment_count(), {}};
  EXPECT_FALSE(DecodePackSegments(EncodePackSegments({&unknown, 1}), tree).has_value());
  EXPECT_FALSE(DecodePackSegments(Bytes(2, 0), tree).has_value());
  EXPECT_FALSE(DecodePackSegments(Bytes(5, 0), tree).has_value());
}

}  // namespace
}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/hidden_member.h"

#include <gtest/gtest.h>

#include "index/base/inflate.h"
#include "index/layer_footer.h"

namespace layerfs {
namespace {

TEST(HiddenMember, GzipPassesOverItAndItsPayloadLiesWhereItShould) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{80}, kMaxHiddenBytes}) {
    const Bytes payload(size, 0x5a);
    const Bytes member = EncodeHiddenMember(payload);
    ASSERT_EQ(member.size(), kHiddenMemberHeadSize + size + kHiddenMemberTailSize);
    EXPECT_EQ(Bytes(member.begin() + kHiddenMemberHeadSize, member.end() - kHiddenMemberTailSize),
              payload);
    EXPECT_TRUE(IsHiddenMemberTail(ByteSpan(member).last(kHiddenMemberTailSize)));
    GzipStreamDecoder decoder;
    ByteSpan input = member;
    Bytes room(100);
    const Result<size_t> written = decoder.Decode(input, room);
    ASSERT_TRUE(written.has_value()) << written.error().context;
    EXPECT_EQ(*written, 0U);
    EXPECT_TRUE(input.empty());
    EXPECT_TRUE(decoder.at_member_end());
  }
}

TEST(HiddenMember, TheFooterOfAGzipLayerIsFoundInsideTheLastOne) {
  const ChunkRef index{Digest::Of(AsBytes("index")), 1000, 200, 5000, ChunkCodec::kZstdFrame};
  const Bytes tail = EncodeHiddenMember(EncodeLayerFooter(index));
  EXPECT_EQ(DecodeLayerFooter(tail, 1200 + tail.size()).value(), index);
  // The index must end before the footer.
  EXPECT_EQ(DecodeLayerFooter(tail, 1000 + tail.size()).error().code, ErrorCode::kCorrupt);
  // An empty member without a footer is an ordinary gzip layer's.
  EXPECT_EQ(DecodeLayerFooter(EncodeHiddenMember(Bytes(80)), 2000).value(), std::nullopt);
}

}  // namespace
}  // namespace layerfs

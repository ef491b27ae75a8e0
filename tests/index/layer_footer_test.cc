// SPDX-License-Identifier: Apache-2.0
#include "index/layer_footer.h"

#include <gtest/gtest.h>

namespace layerfs {
namespace {

const ChunkRef kIndex{Digest::Of(AsBytes("index")), 1000, 200, 5000, ChunkCodec::kZstdFrame};

TEST(LayerFooterTest, AnnotationsComeBack) {
  const auto decoded = DecodeIndexAnnotations(EncodeIndexAnnotations(kIndex), 1280);
  ASSERT_TRUE(decoded.has_value() && decoded->has_value());
  EXPECT_EQ(**decoded, kIndex);
}

TEST(LayerFooterTest, AnOrdinaryLayerHasNoIndex) {
  EXPECT_EQ(DecodeIndexAnnotations({{"other", "x"}}, 100).value(), std::nullopt);
  EXPECT_EQ(DecodeLayerFooter(Bytes(300), 300).value(), std::nullopt);
  EXPECT_EQ(DecodeLayerFooter(Bytes(10), 10).value(), std::nullopt);
}

struct BadAnnotation {
  const char* name;
  const char* position;
};
class BadAnnotationTest : public ::testing::TestWithParam<BadAnnotation> {};
TEST_P(BadAnnotationTest, IsRefused) {
  Annotations annotations = EncodeIndexAnnotations(kIndex);
  annotations[kIndexPositionAnnotation] = GetParam().position;
  EXPECT_EQ(DecodeIndexAnnotations(annotations, 1280).error().code, ErrorCode::kCorrupt);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadAnnotationTest,
    ::testing::Values(BadAnnotation{"Empty", ""}, BadAnnotation{"TwoNumbers", "1000:200"},
                      BadAnnotation{"FourNumbers", "1000:200:5000:1"},
                      BadAnnotation{"Negative", "-1:200:5000"}, BadAnnotation{"Words", "a:b:c"},
                      BadAnnotation{"Overflow", "99999999999999999999:200:5000"},
                      BadAnnotation{"OutsideTheBlob", "1081:200:5000"},
                      BadAnnotation{"Empty2", "1000:0:5000"},
                      BadAnnotation{"HugeIndex", "1000:200:4294967295"},
                      BadAnnotation{"InflatedIndex", "1000:200:1800000"}),
    [](const auto& info) { return info.param.name; });

// A million empty files with numbers for names: their index repeats itself without end.
TEST(LayerFooterTest, ALargeIndexMayBeStoredInLittle) {
  Annotations annotations = EncodeIndexAnnotations(kIndex);
  annotations[kIndexPositionAnnotation] = "3000000:6792:89081920";
  const auto decoded = DecodeIndexAnnotations(annotations, 3'100'000);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().context;
  EXPECT_EQ((*decoded)->size, 89'081'920u);
}

TEST(LayerFooterTest, PositionAndDigestBelongTogether) {
  Annotations annotations = EncodeIndexAnnotations(kIndex);
  annotations.erase(kIndexDigestAnnotation);
  EXPECT_EQ(DecodeIndexAnnotations(annotations, 1280).error().code, ErrorCode::kCorrupt);
}

TEST(LayerFooterTest, FooterIsFoundAtTheEnd) {
  const Bytes footer = EncodeLayerFooter(kIndex);
  ASSERT_EQ(footer.size(), kLayerFooterSize);
  EXPECT_EQ(DecodeLayerFooter(footer, 1280).value(), kIndex);
  // The index must end before the footer.
  EXPECT_EQ(DecodeLayerFooter(footer, 1279).error().code, ErrorCode::kCorrupt);
}

TEST(LayerFooterTest, FooterIsFoundBeforeZstdChunked) {
  Bytes tail = EncodeLayerFooter(kIndex);
  ByteWriter chunked;
  chunked.Write(
      uint32_t{0x184D2A50});  // the table of contents' frame: 8 bytes of head, 4 of payload
  chunked.Write(uint32_t{4});
  chunked.Write(uint32_t{7});
  chunked.Write(uint32_t{0x184D2A50});
  chunked.Write(uint32_t{64});
  chunked.Write(uint64_t{1288});  // where the table's payload begins
  for (int i = 0; i < 6; ++i) chunked.Write(uint64_t{1});
  chunked.WriteSpan(AsBytes("GNUlInUx"));
  tail.insert(tail.end(), chunked.bytes().begin(), chunked.bytes().end());
  EXPECT_EQ(DecodeLayerFooter(tail, 1280 + chunked.size()).value(), kIndex);
}

}  // namespace
}  // namespace layerfs

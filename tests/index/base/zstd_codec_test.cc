// SPDX-License-Identifier: Apache-2.0
#include "index/base/zstd_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace layerfs {
namespace {

std::string Text() {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "line " + std::to_string(i * i) + "\n";
  return text;
}

Bytes Compressed(std::string_view text, int level = 3) {
  Bytes frame;
  EXPECT_TRUE(ZstdCompressor(level).Compress(AsBytes(text), frame).has_value());
  return frame;
}

Bytes Joined(const Bytes& a, const Bytes& b) {
  Bytes both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

TEST(ZstdCodec, GivesBackWhatItTook) {
  ZstdDecompressor decompressor;
  for (const std::string& text : {std::string(), std::string("x"), Text()}) {
    for (const int level : {1, 3, 19}) {
      const Bytes frame = Compressed(text, level);
      Bytes out(text.size());
      const Status status = decompressor.Decompress(frame, out);
      ASSERT_TRUE(status.has_value()) << status.error().context;
      EXPECT_TRUE(AsText(out) == text);
    }
  }
}

TEST(ZstdCodec, ACompressorIsDeterministicHoweverOftenItWasUsed) {
  ZstdCompressor used(3);
  Bytes frame;
  ASSERT_TRUE(used.Compress(AsBytes("something else"), frame).has_value());
  ASSERT_TRUE(used.Compress(AsBytes(Text()), frame).has_value());
  EXPECT_TRUE(frame == Compressed(Text()));
}

TEST(ZstdCodec, FramesHaveTheirSizeAndNoChecksum) {
  const Bytes frame = Compressed("four");
  ByteReader reader(frame);
  EXPECT_EQ(reader.Read<uint32_t>(), kZstdFrameMagic);
  const auto descriptor = reader.Read<uint8_t>();  // RFC 8878, section 3.1.1.1.1
  EXPECT_NE(descriptor & 0x20, 0) << "single segment: the content size is there";
  EXPECT_EQ(descriptor & 0x04, 0) << "no checksum";
  EXPECT_EQ(reader.Read<uint8_t>(), 4);
}

TEST(ZstdDecompressor, SeveralFramesAreOneStream) {
  Bytes out(6);
  ASSERT_TRUE(
      ZstdDecompressor().Decompress(Joined(Compressed("abc"), Compressed("def")), out).has_value());
  EXPECT_EQ(AsText(out), "abcdef");
}

TEST(ZstdDecompressor, RefusesWhatDoesNotFitExactly) {
  const Bytes frame = Compressed("abcdef");
  ZstdDecompressor decompressor;
  Bytes exact(6);
  Bytes small(5);
  Bytes large(7);
  Bytes cut = frame;
  cut.pop_back();
  Bytes broken = frame;
  broken[0] ^= 1;
  EXPECT_EQ(decompressor.Decompress(frame, small).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(decompressor.Decompress(frame, large).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(decompressor.Decompress(cut, exact).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(decompressor.Decompress(broken, exact).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(decompressor.Decompress(Joined(frame, {0}), exact).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(decompressor.Decompress(frame, exact).has_value()) << "and works on after errors";
}

TEST(ZstdStreamDecoder, DecodesWithSmallInputsAndOutputs) {
  const std::string text = Text();
  const Bytes blob = Joined(Compressed(text), Compressed("end"));
  ZstdStreamDecoder decoder;
  std::string decoded;
  Bytes output(1000);
  for (size_t at = 0; at < blob.size(); at += 7) {
    ByteSpan input = ByteSpan(blob).subspan(at, std::min<size_t>(7, blob.size() - at));
    size_t size = 0;
    do {
      const Result<size_t> written = decoder.Decode(input, output);
      ASSERT_TRUE(written.has_value()) << written.error().context;
      size = *written;
      decoded += AsText(ByteSpan(output).first(size));
    } while (!input.empty() || size == output.size());
  }
  EXPECT_TRUE(decoded == text + "end");
  EXPECT_TRUE(decoder.at_frame_end());
}

TEST(ZstdStreamDecoder, KnowsWhetherAFrameIsOpen) {
  const Bytes blob = Compressed("text");
  ZstdStreamDecoder decoder;
  EXPECT_TRUE(decoder.at_frame_end());
  Bytes output(10);
  ByteSpan input = ByteSpan(blob).first(blob.size() - 1);
  ASSERT_TRUE(decoder.Decode(input, output).has_value());
  EXPECT_FALSE(decoder.at_frame_end());
  input = ByteSpan(blob).last(1);
  ASSERT_TRUE(decoder.Decode(input, output).has_value());
  EXPECT_TRUE(decoder.at_frame_end());
}

}  // namespace
}  // namespace layerfs

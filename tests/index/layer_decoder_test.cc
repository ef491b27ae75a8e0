// SPDX-License-Identifier: Apache-2.0
// What LayerDecoder makes of whole blobs, in one piece and in many.
#include "index/layer_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "index/base/zstd_codec.h"
#include "tests/index/base/gzip_writer.h"
#include "tests/index/tar_writer.h"

namespace layerfs {
namespace {

using testing::HasSubstr;

std::string ZstdFrame(std::string_view content) {
  Bytes frame;
  EXPECT_TRUE(ZstdCompressor(3).Compress(AsBytes(content), frame).has_value());
  return std::string(AsText(frame));
}

std::string SkippableFrame(std::string_view content) {
  return LittleEndian(kZstdSkippableMagicFirst + 3, 4) + LittleEndian(content.size(), 4) +
         std::string(content);
}

struct Decoded {
  std::string tar;
  LayerEncoding encoding = LayerEncoding::kUnknown;
};

Result<Decoded> DecodeBlob(std::string_view blob, size_t piece = SIZE_MAX,
                           LayerDecoderLimits limits = {}) {
  Decoded decoded;
  LayerDecoder decoder(
      [&](ByteSpan bytes) {
        decoded.tar += AsText(bytes);
        return Status();
      },
      limits);
  while (!blob.empty()) {
    const size_t size = std::min(piece, blob.size());
    LAYERFS_CHECK_OK(decoder.Feed(AsBytes(blob.substr(0, size))));
    blob.remove_prefix(size);
  }
  LAYERFS_CHECK_OK(decoder.Finish());
  EXPECT_EQ(decoder.tar_size(), decoded.tar.size());
  decoded.encoding = decoder.encoding();
  return decoded;
}

// Does not compress: a linear congruential generator's high bytes.
std::string Noise(size_t size) {
  std::string noise;
  uint64_t state = 1;
  for (size_t i = 0; i < size; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    noise += static_cast<char>(state >> 56);
  }
  return noise;
}

struct GoodCase {
  std::string name;
  std::string blob;
  LayerEncoding encoding;
  std::string tar;
};
void PrintTo(const GoodCase& good, std::ostream* out) { *out << good.name; }

std::vector<GoodCase> GoodCases() {
  const Bytes tar_bytes = TarWriter().File("a", "payload").Finish();
  const std::string tar(AsText(tar_bytes));
  const std::string noise = Noise(300000);
  return {
      {"Empty", "", LayerEncoding::kTar, ""},
      {"Tar", tar, LayerEncoding::kTar, tar},
      {"TarShorterThanAnyMagic", "ab", LayerEncoding::kTar, "ab"},
      {"TarThatIsTheBeginningOfBzip2", "BZh", LayerEncoding::kTar, "BZh"},
      {"TarWhoseFirstNameLooksLikeBzip2", "BZh9 is a name", LayerEncoding::kTar, "BZh9 is a name"},
      {"Gzip", WriteGzip({.content = tar}), LayerEncoding::kGzip, tar},
      {"GzipOfNothing", WriteGzip({}), LayerEncoding::kGzip, ""},
      {"GzipLargerThanTheBuffer", WriteGzip({.content = noise}), LayerEncoding::kGzip, noise},
      {"GzipWithEveryHeaderField",
       WriteGzip({.content = "x",
                  .extra = std::string("AB\4\0data", 8),
                  .name = "layer.tar",
                  .comment = "made by hand",
                  .header_checksum = true}),
       LayerEncoding::kGzip, "x"},
      {"GzipWithEmptyHeaderFields",
       WriteGzip({.content = "x", .extra = "", .name = "", .comment = ""}), LayerEncoding::kGzip,
       "x"},
      {"GzipMembersInARow",
       WriteGzip({.content = "one "}) + WriteGzip({}) +
           WriteGzip({.content = "two", .name = "n", .header_checksum = true}) + HelloGzipFixed(),
       LayerEncoding::kGzip, "one twohello hello hello"},
      {"GzipDynamicCodes", LinesGzipDynamic() + LinesGzipDynamic(), LayerEncoding::kGzip,
       LinesText() + LinesText()},
      {"Zstd", ZstdFrame(tar), LayerEncoding::kZstd, tar},
      {"ZstdLargerThanTheBuffer", ZstdFrame(noise), LayerEncoding::kZstd, noise},
      {"ZstdOfNothing", ZstdFrame(""), LayerEncoding::kZstd, ""},
      {"ZstdFramesInARow", ZstdFrame("one ") + ZstdFrame("two"), LayerEncoding::kZstd, "one two"},
      {"ZstdWithSkippableFrames",
       SkippableFrame("first") + ZstdFrame("data") + SkippableFrame("") + SkippableFrame(noise),
       LayerEncoding::kZstd, "data"},
  };
}

class GoodBlob : public testing::TestWithParam<GoodCase> {};

TEST_P(GoodBlob, GivesItsTar) {
  const Result<Decoded> decoded = DecodeBlob(GetParam().blob);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().context;
  EXPECT_EQ(decoded->encoding, GetParam().encoding);
  EXPECT_TRUE(decoded->tar == GetParam().tar);
}

TEST_P(GoodBlob, GivesTheSameInPiecesOfAnySize) {
  for (const size_t piece : {1, 2, 7, 4096}) {
    const Result<Decoded> decoded = DecodeBlob(GetParam().blob, piece);
    ASSERT_TRUE(decoded.has_value()) << piece << ": " << decoded.error().context;
    EXPECT_TRUE(decoded->tar == GetParam().tar) << piece;
  }
}

INSTANTIATE_TEST_SUITE_P(Blobs, GoodBlob, testing::ValuesIn(GoodCases()),
                         [](const auto& info) { return info.param.name; });

struct BadCase {
  std::string name;
  std::string blob;
  std::string message;
  ErrorCode code = ErrorCode::kCorrupt;
};
void PrintTo(const BadCase& bad, std::ostream* out) { *out << bad.name; }

std::vector<BadCase> BadCases() {
  const std::string gzip = WriteGzip({.content = "content"});
  const std::string zstd = ZstdFrame("content");
  std::string wrong_method = gzip;
  wrong_method[2] = 7;  // In the second member: the first one's would not be told for gzip.
  // A zstd frame header with a window of 2^28: RFC 8878, section 3.1.1.1.2.
  const std::string wide_window = LittleEndian(kZstdFrameMagic, 4) + std::string("\0", 1) +
                                  static_cast<char>((28 - 10) << 3) + std::string("\1\0\0", 3);
  const std::string with_dictionary =
      LittleEndian(kZstdFrameMagic, 4) + std::string("\x21\x05\x01", 3) + std::string("\1\0\0", 3);
  std::string broken_deflate = LinesGzipDynamic();
  broken_deflate[40] = static_cast<char>(~broken_deflate[40]);
  const std::string distance_in_dynamic_block = FromHex(
      "1f8b0800000000000203edd0b10d02410c05d19c2a28017fc3010511209daeff109d3cdb049ae8473bf2bebd7b7c"
      "aeb7cb7e4ecd64a667ee338f996d");
  const std::string gzip_head("\x1f\x8b\x08\0\0\0\0\0\2\3", 10);
  return {
      {"should_fail_gzip_cut_in_header", gzip.substr(0, 5), "blob offset 5: gzip: the blob ends"},
      {"should_fail_gzip_cut_in_body", gzip.substr(0, 18), "gzip: the blob ends"},
      {"should_fail_gzip_cut_before_trailer", gzip.substr(0, gzip.size() - 8),
       "gzip: the blob ends"},
      {"should_fail_gzip_cut_in_trailer", gzip.substr(0, gzip.size() - 1), "gzip: the blob ends"},
      {"should_fail_gzip_cut_in_second_member", gzip + gzip.substr(0, 1), "gzip: the blob ends"},
      {"should_fail_gzip_cut_in_name", WriteGzip({.name = "name"}).substr(0, 13),
       "gzip: the blob ends"},
      {"should_fail_gzip_cut_in_extra", WriteGzip({.extra = "extra"}).substr(0, 14),
       "gzip: the blob ends"},
      {"should_fail_gzip_crc", WriteGzip({.content = "x", .crc_error = 1}),
       "gzip: CRC-32 is wrong"},
      {"should_fail_gzip_size", WriteGzip({.content = "x", .size_error = 1}),
       "gzip: size in the trailer is wrong"},
      {"should_fail_gzip_header_checksum",
       WriteGzip({.content = "x", .header_checksum = true, .header_checksum_error = 1}),
       "gzip: header checksum is wrong"},
      {"should_fail_gzip_reserved_flags", WriteGzip({.content = "x", .reserved_flags = 0x20}),
       "reserved header flags"},
      {"should_fail_gzip_method", gzip + wrong_method, "unknown compression method"},
      {"should_fail_gzip_trailing_garbage", gzip + "garbage", "gzip: trailing garbage"},
      {"should_fail_gzip_trailing_zeros", gzip + std::string(512, '\0'), "gzip: trailing garbage"},
      {"should_fail_gzip_trailing_newline", gzip + "\n", "gzip: trailing garbage"},
      {"should_fail_gzip_second_error", gzip + WriteGzip({.content = "x", .crc_error = 1}),
       "blob offset " + std::to_string(gzip.size() + 24)},
      {"should_fail_gzip_block_type", gzip_head + "\x07", "gzip: invalid block"},
      {"should_fail_gzip_stored_length", gzip_head + std::string("\1\5\0\0\0hello", 10),
       "gzip: invalid block"},
      // Fixed codes: a match of length 3 and distance 1 before anything was written.
      {"should_fail_gzip_distance", gzip_head + std::string("\x03\x02\x00\x00\x00\x00\x00\x00", 8),
       "gzip: distance too far back"},
      // ISA-L's counts are wrong after this one.
      {"should_fail_gzip_distance_in_dynamic_block", distance_in_dynamic_block,
       "gzip: distance too far back"},
      {"should_fail_gzip_body", broken_deflate, "gzip: "},
      {"should_fail_zstd_cut", zstd.substr(0, zstd.size() - 1), "zstd: the blob ends"},
      {"should_fail_zstd_cut_in_magic", zstd + zstd.substr(0, 3), "zstd: the blob ends"},
      {"should_fail_zstd_cut_in_skippable", SkippableFrame("12345").substr(0, 11),
       "zstd: the blob ends"},
      {"should_fail_zstd_trailing_garbage", zstd + "garbage", "zstd stream: "},
      {"should_fail_zstd_trailing_zeros", zstd + std::string(512, '\0'), "zstd stream: "},
      {"should_fail_zstd_reserved_block",
       LittleEndian(kZstdFrameMagic, 4) + std::string("\x20\x01\x07\0\0", 5), "zstd stream: "},
      {"should_fail_zstd_window", wide_window, "a window of more than 128 MiB",
       ErrorCode::kUnsupported},
      {"should_fail_zstd_dictionary", with_dictionary, "needs a dictionary",
       ErrorCode::kUnsupported},
      {"should_fail_xz", std::string("\xfd\x37zXZ\0\0\4", 8), "compressed with xz",
       ErrorCode::kUnsupported},
      {"should_fail_bzip2", "BZh91AY&SY....", "compressed with bzip2", ErrorCode::kUnsupported},
  };
}

class BadBlob : public testing::TestWithParam<BadCase> {};

TEST_P(BadBlob, IsRefusedWithOffsetAndReason) {
  const Result<Decoded> decoded = DecodeBlob(GetParam().blob);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code, GetParam().code) << decoded.error().context;
  EXPECT_THAT(decoded.error().context, HasSubstr(GetParam().message));
  EXPECT_THAT(decoded.error().context, testing::StartsWith("blob offset "));
}

TEST_P(BadBlob, IsRefusedAlikeByteForByte) {
  const Result<Decoded> decoded = DecodeBlob(GetParam().blob, 1);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code, GetParam().code) << decoded.error().context;
  EXPECT_THAT(decoded.error().context, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Blobs, BadBlob, testing::ValuesIn(BadCases()),
                         [](const auto& info) { return info.param.name; });

TEST(LayerDecoder, EveryCutOfAStreamIsRefused) {
  for (const std::string& blob : {LinesGzipDynamic(), ZstdFrame(LinesText())}) {
    for (size_t size = 1; size < blob.size(); ++size) {
      // The first bytes alone are not told for what they are; a tar's parser refuses them.
      const Result<Decoded> decoded = DecodeBlob(std::string_view(blob).substr(0, size));
      EXPECT_TRUE(!decoded.has_value() || decoded->encoding == LayerEncoding::kTar) << size;
    }
  }
}

TEST(LayerDecoder, EverySplitOfAStreamGivesTheSame) {
  const std::string text = LinesText();
  for (const std::string& blob : {LinesGzipDynamic() + HelloGzipFixed() + LinesGzipDynamic(),
                                  ZstdFrame(text) + SkippableFrame("skip") + ZstdFrame("x")}) {
    const Result<Decoded> whole = DecodeBlob(blob);
    ASSERT_TRUE(whole.has_value());
    for (size_t split = 1; split < blob.size(); ++split) {
      std::string tar;
      LayerDecoder decoder([&](ByteSpan bytes) {
        tar += AsText(bytes);
        return Status();
      });
      ASSERT_TRUE(decoder.Feed(AsBytes(std::string_view(blob).substr(0, split))).has_value());
      ASSERT_TRUE(decoder.Feed(AsBytes(std::string_view(blob).substr(split))).has_value());
      ASSERT_TRUE(decoder.Finish().has_value());
      ASSERT_TRUE(tar == whole->tar) << split;
    }
  }
}

TEST(LayerDecoder, BombIsRefusedBeforeItGrows) {
  const std::string zeros(size_t{8} << 20, '\0');
  const std::string blob = ZstdFrame(zeros);
  const LayerDecoderLimits limits{.floor_bytes = 1 << 20, .ratio = 10};
  uint64_t received = 0;
  LayerDecoder decoder(
      [&](ByteSpan bytes) {
        received += bytes.size();
        return Status();
      },
      limits);
  const Status status = decoder.Feed(AsBytes(blob));
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kTooLarge);
  EXPECT_THAT(status.error().context, HasSubstr("decompression bomb"));
  EXPECT_LE(received, limits.floor_bytes);
}

TEST(LayerDecoder, RatioAboveTheFloorIsAllowed) {
  const std::string noise = Noise(3 << 20);
  EXPECT_TRUE(
      DecodeBlob(ZstdFrame(noise), SIZE_MAX, {.floor_bytes = 1 << 20, .ratio = 2}).has_value());
}

TEST(LayerDecoder, ErrorOfTheCallbackEndsTheDecodingUnchanged) {
  for (const std::string& blob : {std::string(1024, 'x'), HelloGzipFixed(), ZstdFrame("x")}) {
    int calls = 0;
    LayerDecoder decoder([&](ByteSpan) -> Status {
      ++calls;
      return Fail(ErrorCode::kNoSpace, "full");
    });
    const Status status = decoder.Feed(AsBytes(blob));
    ASSERT_FALSE(status.has_value());
    EXPECT_EQ(status.error().context, "full");
    EXPECT_FALSE(decoder.Feed(AsBytes(blob)).has_value());
    EXPECT_FALSE(decoder.Finish().has_value());
    EXPECT_EQ(calls, 1);
  }
}

}  // namespace
}  // namespace layerfs

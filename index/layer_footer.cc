// SPDX-License-Identifier: Apache-2.0
#include "index/layer_footer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "index/base/zstd_codec.h"
#include "index/hidden_member.h"

namespace layerfs {
namespace {

constexpr std::array<uint8_t, 8> kFooterMagic = {'L', 'A', 'Y', 'E', 'R', 'F', 'S', '1'};
// The magic of our skippable frames; any of the sixteen would do (RFC 8878, 3.1.2).
constexpr uint32_t kFooterFrameMagic = kZstdSkippableMagicFirst + 14;
// zstd:chunked: 8 bytes of skippable header, then 56 bytes of numbers and this magic.
constexpr size_t kZstdChunkedFooterSize = 64;

Status CheckPlace(const ChunkRef& index, uint64_t blob_size, std::string_view where) {
  if (index.stored_size == 0 || index.size == 0 ||
      !RangeFits(index.blob_offset, index.stored_size, blob_size)) {
    return Fail(ErrorCode::kCorrupt, std::string(where) + ": the index lies outside the blob");
  }
  const uint64_t by_ratio = CheckedMul(kMaxIndexRatio, blob_size).value_or(kMaxIndexBytes);
  const uint64_t limit = kFreeIndexBytes + std::min(kMaxIndexBytes - kFreeIndexBytes, by_ratio);
  if (index.size <= limit) return {};
  return Fail(ErrorCode::kCorrupt, std::string(where) + ": an index of " +
                                       std::to_string(index.size) + " bytes in a blob of " +
                                       std::to_string(blob_size) + ": the limit is " +
                                       std::to_string(limit));
}

Result<ChunkRef> ParsePosition(std::string_view text) {
  std::array<uint64_t, 3> numbers{};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  bool good = true;
  for (size_t i = 0; good && i < numbers.size(); ++i) {
    if (i > 0) {
      good = at != end && *at == ':';
      if (!good) break;
      ++at;
    }
    const auto [next, error] = std::from_chars(at, end, numbers[i]);
    good = error == std::errc{};
    at = next;
  }
  if (!good || at != end || numbers[1] > UINT32_MAX || numbers[2] > UINT32_MAX) {
    return Fail(ErrorCode::kCorrupt, std::string("annotation ") + kIndexPositionAnnotation +
                                         ": not offset:stored-size:size");
  }
  ChunkRef index;
  index.blob_offset = numbers[0];
  index.stored_size = static_cast<uint32_t>(numbers[1]);
  index.size = static_cast<uint32_t>(numbers[2]);
  index.codec = ChunkCodec::kZstdFrame;
  return index;
}

std::optional<ChunkRef> ReadFooter(ByteSpan footer) {
  ByteReader reader(footer);
  if (reader.Read<uint32_t>() != kFooterFrameMagic) return std::nullopt;
  if (reader.Read<uint32_t>() != kLayerFooterSize - kZstdSkippableHeaderSize) return std::nullopt;
  ChunkRef index;
  const ByteSpan digest = reader.ReadSpan(Digest::kSize);
  std::copy(digest.begin(), digest.end(), index.digest.bytes.begin());
  index.blob_offset = reader.Read<uint64_t>();
  index.stored_size = reader.Read<uint32_t>();
  index.size = reader.Read<uint32_t>();
  index.codec = ChunkCodec::kZstdFrame;
  const bool reserved_zero = reader.Read<uint64_t>() == 0 && reader.Read<uint64_t>() == 0;
  const ByteSpan magic = reader.ReadSpan(kFooterMagic.size());
  if (!reader.ok() || !reserved_zero ||
      !std::equal(magic.begin(), magic.end(), kFooterMagic.begin())) {
    return std::nullopt;
  }
  return index;
}

// Where our footer would end if zstd:chunked's frames have been added behind it.
std::optional<uint64_t> EndBeforeZstdChunked(ByteSpan tail, uint64_t blob_size) {
  if (tail.size() < kZstdChunkedFooterSize) return std::nullopt;
  const ByteSpan footer = tail.last(kZstdChunkedFooterSize);
  if (AsText(footer.last(kZstdChunkedMagic.size())) != kZstdChunkedMagic) return std::nullopt;
  const auto toc_offset = ByteReader(footer).Read<uint64_t>();
  if (toc_offset < kZstdSkippableHeaderSize || toc_offset > blob_size) return std::nullopt;
  return toc_offset - kZstdSkippableHeaderSize;
}

}  // namespace

Annotations EncodeIndexAnnotations(const ChunkRef& index) {
  return {{kIndexPositionAnnotation, std::to_string(index.blob_offset) + ":" +
                                         std::to_string(index.stored_size) + ":" +
                                         std::to_string(index.size)},
          {kIndexDigestAnnotation, index.digest.ToString()}};
}

Result<std::optional<ChunkRef>> DecodeIndexAnnotations(const Annotations& annotations,
                                                       uint64_t blob_size) {
  const auto position = annotations.find(kIndexPositionAnnotation);
  const auto digest = annotations.find(kIndexDigestAnnotation);
  if (position == annotations.end() && digest == annotations.end()) return std::nullopt;
  if (position == annotations.end() || digest == annotations.end()) {
    return Fail(ErrorCode::kCorrupt,
                "annotations io.layerfs.index.*: position and digest belong together");
  }
  LAYERFS_TRY(index, ParsePosition(position->second));
  auto parsed = Digest::Parse(digest->second);
  if (!parsed.has_value()) {
    return Fail(ErrorCode::kCorrupt, std::string("annotation ") + kIndexDigestAnnotation + ": " +
                                         parsed.error().context);
  }
  index.digest = *parsed;
  LAYERFS_CHECK_OK(CheckPlace(index, blob_size, kIndexPositionAnnotation));
  return index;
}

Bytes EncodeLayerFooter(const ChunkRef& index) {
  ByteWriter writer;
  writer.Write(kFooterFrameMagic);
  writer.Write(static_cast<uint32_t>(kLayerFooterSize - kZstdSkippableHeaderSize));
  writer.WriteSpan(index.digest.bytes);
  writer.Write(index.blob_offset);
  writer.Write(index.stored_size);
  writer.Write(index.size);
  writer.Write(uint64_t{0});
  writer.Write(uint64_t{0});
  writer.WriteSpan(kFooterMagic);
  return std::move(writer).Take();
}

Result<std::optional<ChunkRef>> DecodeLayerFooter(ByteSpan tail, uint64_t blob_size) {
  if (tail.size() > blob_size) {
    return Fail(ErrorCode::kCorrupt, "layer footer: more bytes than the blob has");
  }
  const uint64_t tail_begin = blob_size - tail.size();
  const bool gzip =
      tail.size() >= kHiddenMemberTailSize && IsHiddenMemberTail(tail.last(kHiddenMemberTailSize));
  const uint64_t end = gzip ? blob_size - kHiddenMemberTailSize
                            : EndBeforeZstdChunked(tail, blob_size).value_or(blob_size);
  if (end < tail_begin || end - tail_begin < kLayerFooterSize) return std::nullopt;
  const std::optional<ChunkRef> index =
      ReadFooter(tail.subspan(end - tail_begin - kLayerFooterSize, kLayerFooterSize));
  if (!index.has_value()) return std::nullopt;
  LAYERFS_CHECK_OK(CheckPlace(*index, end - kLayerFooterSize, "layer footer"));
  return index;
}

}  // namespace layerfs

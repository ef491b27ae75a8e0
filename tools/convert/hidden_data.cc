// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/hidden_data.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "index/hidden_member.h"
#include "index/layer_footer.h"

namespace layerfs {
namespace {

// Digests do not compress and the rest is small: a higher level than the chunks' costs nothing.
constexpr int kLevel = 9;

// The magic of our skippable frames; any of the sixteen would do (RFC 8878, 3.1.2).
constexpr uint32_t kFrameMagic = kZstdSkippableMagicFirst + 14;

Bytes SkippableHeader(size_t payload_size) {
  ByteWriter header;
  header.Write(kFrameMagic);
  header.Write(static_cast<uint32_t>(payload_size));
  return std::move(header).Take();
}

// What lies in the blob between the payloads of two hidden members in a row.
constexpr size_t kGapSize = kHiddenMemberTailSize + kHiddenMemberHeadSize;
// A frame that is followed by another leaves room for the header that makes the gap a frame too.
constexpr size_t kMaxFrameBytes = kMaxHiddenBytes - kZstdSkippableHeaderSize;
// An index shrinks to a tenth or so: what is tried first for a frame of a member.
constexpr size_t kFirstPieceBytes = size_t{1} << 20;

}  // namespace

HiddenData::HiddenData(LayerCompression compression, SpoolFile& spool)
    : compression_(compression), spool_(spool), zstd_(kLevel) {}

Result<ChunkRef> HiddenData::Append(ByteSpan data) {
  if (data.size() > kMaxIndexBytes) {
    return Fail(ErrorCode::kTooLarge,
                "an index of " + std::to_string(data.size()) + " bytes is beyond the format");
  }
  const bool gzip = compression_ == LayerCompression::kGzip;
  const uint64_t begin = spool_.size() + (gzip ? kHiddenMemberHeadSize : kZstdSkippableHeaderSize);
  LAYERFS_CHECK_OK(gzip ? AppendMembers(data) : AppendSkippable(data));
  const uint64_t end = spool_.size() - (gzip ? kHiddenMemberTailSize : 0);
  return ChunkRef{Digest::Of(data), begin, static_cast<uint32_t>(end - begin),
                  static_cast<uint32_t>(data.size()), ChunkCodec::kZstdFrame};
}

Status HiddenData::AppendSkippable(ByteSpan data) {
  // Of what a frame may need at the most, only the pages that it takes are touched.
  const size_t bound = ZstdCompressor::Bound(data.size());
  const auto room = std::make_unique_for_overwrite<uint8_t[]>(bound);
  LAYERFS_TRY(size, zstd_.CompressInto(data, {room.get(), bound}));
  LAYERFS_CHECK_OK(spool_.Append(SkippableHeader(size)));
  return spool_.Append(ByteSpan(room.get(), size));
}

// One member after the other, each with a frame. Between two frames lie a member's end and the next
// one's begin: a skippable frame to who reads them as zstd, from the first frame to the last.
Status HiddenData::AppendMembers(ByteSpan data) {
  LAYERFS_TRY(frames, CompressInPieces(data));
  for (Bytes& payload : frames) {
    if (&payload != &frames.back()) {
      const Bytes header = SkippableHeader(kGapSize);
      payload.insert(payload.end(), header.begin(), header.end());
    }
    LAYERFS_CHECK_OK(spool_.Append(EncodeHiddenMember(payload)));
  }
  return {};
}

Result<std::vector<Bytes>> HiddenData::CompressInPieces(ByteSpan data) {
  std::vector<Bytes> frames;
  size_t step = kFirstPieceBytes;
  while (!data.empty()) {
    const size_t size = std::min(step, data.size());
    Bytes frame;
    LAYERFS_CHECK_OK(zstd_.Compress(data.first(size), frame));
    if (frame.size() > kMaxFrameBytes) {
      step = size / 2;
      continue;
    }
    frames.push_back(std::move(frame));
    data = data.subspan(size);
  }
  return frames;
}

Status HiddenData::AppendFooter(const ChunkRef& index) {
  const Bytes footer = EncodeLayerFooter(index);
  return spool_.Append(compression_ == LayerCompression::kGzip ? EncodeHiddenMember(footer)
                                                               : footer);
}

}  // namespace layerfs

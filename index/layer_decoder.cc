// SPDX-License-Identifier: Apache-2.0
#include "index/layer_decoder.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "index/base/inflate.h"
#include "index/base/zstd_codec.h"

namespace layerfs {
namespace {

// Large enough that the decoders' cost per call vanishes, small enough for the second-level cache.
constexpr size_t kOutputSize = size_t{256} << 10;

constexpr std::string_view kGzipMagic("\x1f\x8b\x08", 3);
constexpr std::string_view kXzMagic("\xfd\x37zXZ\0", 6);
constexpr std::string_view kBzip2Magic = "BZh";
constexpr std::string_view kBzip2BlockMagic = "1AY&SY";  // behind the level digit
constexpr size_t kSniffSize = 10;                        // bzip2's, the longest

bool IsZstdMagic(ByteSpan head) {
  ByteReader reader(head);
  const auto magic = reader.Read<uint32_t>();
  return reader.ok() && (magic == kZstdFrameMagic || (magic & ~0xfU) == kZstdSkippableMagicFirst);
}

// Without a magic of its own, anything else is a tar; its parser will say if it is not. An empty
// blob is an empty tar: Docker has written such layers.
Result<LayerEncoding> Sniff(ByteSpan head) {
  const std::string_view text = AsText(head);
  if (text.starts_with(kGzipMagic)) return LayerEncoding::kGzip;
  if (IsZstdMagic(head)) return LayerEncoding::kZstd;
  const bool is_bzip2 = text.size() == kSniffSize && text.starts_with(kBzip2Magic) &&
                        text.ends_with(kBzip2BlockMagic);
  if (text.starts_with(kXzMagic) || is_bzip2) {
    return Fail(ErrorCode::kUnsupported, "blob offset 0: the layer is compressed with " +
                                             std::string(is_bzip2 ? "bzip2" : "xz") +
                                             "; image layers are tar, tar+gzip or tar+zstd");
  }
  return LayerEncoding::kTar;
}

}  // namespace

class LayerDecoder::Impl {
 public:
  Impl(OnTarBytes on_tar_bytes, LayerDecoderLimits limits)
      : on_tar_bytes_(std::move(on_tar_bytes)), limits_(limits) {}

  // Once it has failed it fails for good.
  Status Feed(ByteSpan bytes) {
    if (status_.has_value()) status_ = Take(bytes);
    return status_;
  }
  Status Finish() {
    if (status_.has_value()) status_ = TakeEnd();
    return status_;
  }
  LayerEncoding encoding() const { return encoding_; }
  uint64_t tar_size() const { return tar_size_; }
  bool refused_window() const { return zstd_ != nullptr && zstd_->refused_window(); }

 private:
  Status Take(ByteSpan bytes);
  Status TakeEnd();
  Status DecideEncoding();
  Status Decode(ByteSpan bytes);
  template <typename Decoder>
  Status DecodeWith(Decoder& decoder, ByteSpan bytes);
  Status Deliver(ByteSpan tar_bytes);
  std::string Here() const { return "blob offset " + std::to_string(offset_); }

  const OnTarBytes on_tar_bytes_;
  const LayerDecoderLimits limits_;
  Status status_;
  LayerEncoding encoding_ = LayerEncoding::kUnknown;
  Bytes head_;           // until the encoding is known
  uint64_t offset_ = 0;  // blob bytes decoded
  uint64_t tar_size_ = 0;
  Bytes output_;
  std::unique_ptr<GzipStreamDecoder> gzip_;
  std::unique_ptr<ZstdStreamDecoder> zstd_;
};

Status LayerDecoder::Impl::Take(ByteSpan bytes) {
  if (encoding_ != LayerEncoding::kUnknown) return Decode(bytes);
  const ByteSpan part = bytes.first(std::min(bytes.size(), kSniffSize - head_.size()));
  head_.insert(head_.end(), part.begin(), part.end());
  if (head_.size() < kSniffSize) return {};
  LAYERFS_CHECK_OK(DecideEncoding());
  return Decode(bytes.subspan(part.size()));
}

Status LayerDecoder::Impl::DecideEncoding() {
  LAYERFS_TRY(encoding, Sniff(head_));
  encoding_ = encoding;
  if (encoding == LayerEncoding::kGzip) gzip_ = std::make_unique<GzipStreamDecoder>();
  if (encoding == LayerEncoding::kZstd) {
    zstd_ = std::make_unique<ZstdStreamDecoder>(limits_.zstd_window_log);
  }
  if (encoding != LayerEncoding::kTar) output_.resize(kOutputSize);
  const Bytes head = std::move(head_);
  return Decode(head);
}

Status LayerDecoder::Impl::Decode(ByteSpan bytes) {
  if (gzip_ != nullptr) return DecodeWith(*gzip_, bytes);
  if (zstd_ != nullptr) return DecodeWith(*zstd_, bytes);
  offset_ += bytes.size();
  return Deliver(bytes);
}

template <typename Decoder>
Status LayerDecoder::Impl::DecodeWith(Decoder& decoder, ByteSpan bytes) {
  size_t written = 0;
  do {
    const size_t before = bytes.size();
    Result<size_t> decoded = decoder.Decode(bytes, output_);
    offset_ += before - bytes.size();
    if (!decoded.has_value()) return Fail(std::move(decoded).error().In(Here()));
    written = *decoded;
    LAYERFS_CHECK_OK(Deliver(ByteSpan(output_).first(written)));
    if (written == 0 && bytes.size() == before && before != 0) {
      return Fail(ErrorCode::kCorrupt, Here() + ": the stream does not go on");
    }
  } while (!bytes.empty() || written == output_.size());
  return {};
}

Status LayerDecoder::Impl::Deliver(ByteSpan tar_bytes) {
  if (tar_bytes.empty()) return {};
  tar_size_ += tar_bytes.size();
  const uint64_t by_ratio = CheckedMul(limits_.ratio, offset_).value_or(UINT64_MAX);
  if (tar_size_ > std::max(limits_.floor_bytes, by_ratio)) {
    return Fail(ErrorCode::kTooLarge,
                Here() + ": a decompression bomb: " + std::to_string(tar_size_) +
                    " bytes of tar and more; the limit is " + std::to_string(limits_.ratio) +
                    " times the blob, or " + std::to_string(limits_.floor_bytes) + " bytes");
  }
  return on_tar_bytes_(tar_bytes);
}

Status LayerDecoder::Impl::TakeEnd() {
  if (encoding_ == LayerEncoding::kUnknown) LAYERFS_CHECK_OK(DecideEncoding());
  if (gzip_ != nullptr && !gzip_->at_member_end()) {
    return Fail(ErrorCode::kCorrupt, Here() + ": gzip: the blob ends in the middle of a member");
  }
  if (zstd_ != nullptr && !zstd_->at_frame_end()) {
    return Fail(ErrorCode::kCorrupt, Here() + ": zstd: the blob ends in the middle of a frame");
  }
  return {};
}

LayerDecoder::LayerDecoder(OnTarBytes on_tar_bytes, LayerDecoderLimits limits)
    : impl_(std::make_unique<Impl>(std::move(on_tar_bytes), limits)) {}
LayerDecoder::~LayerDecoder() = default;
Status LayerDecoder::Feed(ByteSpan blob_bytes) { return impl_->Feed(blob_bytes); }
Status LayerDecoder::Finish() { return impl_->Finish(); }
LayerEncoding LayerDecoder::encoding() const { return impl_->encoding(); }
uint64_t LayerDecoder::tar_size() const { return impl_->tar_size(); }
bool LayerDecoder::refused_window() const { return impl_->refused_window(); }

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/base/inflate.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <array>
#include <string>

namespace layerfs {
namespace {

// RFC 1952, section 2.3.
constexpr size_t kFixedHeaderSize = 10;
constexpr size_t kTrailerSize = 8;
constexpr uint8_t kMagic0 = 0x1f;
constexpr uint8_t kMagic1 = 0x8b;
constexpr uint8_t kMethodDeflate = 8;
enum Flag : uint8_t {
  kHeaderCrc = 0x02,
  kExtra = 0x04,
  kName = 0x08,
  kComment = 0x10,
  kReserved = 0xe0,
};

// ISA-L counts in 32 bits.
constexpr size_t kMaxPiece = size_t{1} << 30;

std::unexpected<Error> Corrupt(std::string_view what) {
  return Fail(ErrorCode::kCorrupt, "gzip: " + std::string(what));
}

uint32_t UpdateCrc(uint32_t crc, ByteSpan bytes) {
  return crc32_gzip_refl(crc, const_cast<uint8_t*>(bytes.data()), bytes.size());
}

std::string_view InflateErrorName(int code) {
  switch (code) {
    case ISAL_INVALID_BLOCK:
      return "invalid block";
    case ISAL_INVALID_SYMBOL:
      return "invalid symbol";
    case ISAL_INVALID_LOOKBACK:
      return "distance too far back";
    default:
      return "invalid deflate data";
  }
}

}  // namespace

class GzipStreamDecoder::State {
 public:
  State() { isal_inflate_init(&inflate_); }

  Result<size_t> Decode(ByteSpan& input, MutableByteSpan output);
  bool at_member_end() const { return step_ == Step::kFixedHeader && fill_ == 0 && had_member_; }

 private:
  // The parts of a member, in order.
  enum class Step {
    kFixedHeader,
    kExtraSize,
    kExtraField,
    kFileName,
    kCommentText,
    kHeaderChecksum,
    kBody,
    kTrailer,
  };

  Status DecodeHeader(ByteSpan& input);
  Status TakeFixedHeader();
  void SkipText(ByteSpan& input, Step next);
  void BeginBody();
  Result<size_t> DecodeBody(ByteSpan& input, MutableByteSpan output);
  void TakeBackUnusedBits();
  Status DecodeTrailer(ByteSpan& input);
  // Moves bytes into `scratch_` until it holds `size`; false while some are missing.
  bool Collect(ByteSpan& input, size_t size);

  Step step_ = Step::kFixedHeader;
  uint8_t flags_ = 0;
  size_t extra_left_ = 0;
  uint32_t header_crc_ = 0;
  std::array<uint8_t, kFixedHeaderSize> scratch_;
  size_t fill_ = 0;
  bool had_member_ = false;
  uint32_t crc_ = 0;
  uint32_t size_ = 0;  // modulo 2^32, as the trailer has it
  inflate_state inflate_;
};

bool GzipStreamDecoder::State::Collect(ByteSpan& input, size_t size) {
  while (fill_ < size && !input.empty()) {
    scratch_[fill_++] = input.front();
    input = input.subspan(1);
  }
  return fill_ == size;
}

Status GzipStreamDecoder::State::TakeFixedHeader() {
  if (scratch_[2] != kMethodDeflate) return Corrupt("unknown compression method");
  flags_ = scratch_[3];
  if ((flags_ & kReserved) != 0) return Corrupt("reserved header flags are set");
  header_crc_ = UpdateCrc(0, scratch_);
  fill_ = 0;
  step_ = Step::kExtraSize;
  return {};
}

// Names and comments are passed over, so they may have any length.
void GzipStreamDecoder::State::SkipText(ByteSpan& input, Step next) {
  const auto end = std::ranges::find(input, uint8_t{0});
  const bool is_complete = end != input.end();
  const auto size = static_cast<size_t>(end - input.begin()) + (is_complete ? 1 : 0);
  header_crc_ = UpdateCrc(header_crc_, input.first(size));
  input = input.subspan(size);
  if (is_complete) step_ = next;
}

void GzipStreamDecoder::State::BeginBody() {
  isal_inflate_reset(&inflate_);
  inflate_.crc_flag = ISAL_DEFLATE;  // The wrapper is ours.
  crc_ = 0;
  size_ = 0;
  step_ = Step::kBody;
}

// Advances through the header's parts as far as `input` goes.
Status GzipStreamDecoder::State::DecodeHeader(ByteSpan& input) {
  while (true) {
    const Step before = step_;
    switch (step_) {
      case Step::kFixedHeader: {
        const bool is_complete = Collect(input, kFixedHeaderSize);
        if ((fill_ > 0 && scratch_[0] != kMagic0) || (fill_ > 1 && scratch_[1] != kMagic1)) {
          return Corrupt(had_member_ ? "trailing garbage" : "not a gzip header");
        }
        if (is_complete) LAYERFS_CHECK_OK(TakeFixedHeader());
        break;
      }
      case Step::kExtraSize:
        if ((flags_ & kExtra) == 0) {
          step_ = Step::kFileName;
        } else if (Collect(input, 2)) {
          header_crc_ = UpdateCrc(header_crc_, ByteSpan(scratch_).first(2));
          extra_left_ = scratch_[0] | size_t{scratch_[1]} << 8;
          fill_ = 0;
          step_ = Step::kExtraField;
        }
        break;
      case Step::kExtraField: {
        const ByteSpan part = input.first(std::min(extra_left_, input.size()));
        header_crc_ = UpdateCrc(header_crc_, part);
        extra_left_ -= part.size();
        input = input.subspan(part.size());
        if (extra_left_ == 0) step_ = Step::kFileName;
        break;
      }
      case Step::kFileName:
        if ((flags_ & kName) == 0) {
          step_ = Step::kCommentText;
        } else {
          SkipText(input, Step::kCommentText);
        }
        break;
      case Step::kCommentText:
        if ((flags_ & kComment) == 0) {
          step_ = Step::kHeaderChecksum;
        } else {
          SkipText(input, Step::kHeaderChecksum);
        }
        break;
      case Step::kHeaderChecksum:
        if ((flags_ & kHeaderCrc) == 0) {
          BeginBody();
        } else if (Collect(input, 2)) {
          const uint32_t stored = scratch_[0] | uint32_t{scratch_[1]} << 8;
          if (stored != (header_crc_ & 0xffff)) return Corrupt("header checksum is wrong");
          fill_ = 0;
          BeginBody();
        }
        break;
      case Step::kBody:
      case Step::kTrailer:
        return {};
    }
    if (step_ == before) return {};
  }
}

// ISA-L reads ahead of the deflate stream's end by up to 8 bytes, which it keeps as bits.
void GzipStreamDecoder::State::TakeBackUnusedBits() {
  const int byte_count = inflate_.read_in_length / 8;
  uint64_t bits = inflate_.read_in >> (inflate_.read_in_length % 8);
  for (int i = 0; i < byte_count && fill_ < kTrailerSize; ++i, bits >>= 8) {
    scratch_[fill_++] = static_cast<uint8_t>(bits);
  }
}

Result<size_t> GzipStreamDecoder::State::DecodeBody(ByteSpan& input, MutableByteSpan output) {
  const ByteSpan in = input.first(std::min(input.size(), kMaxPiece));
  const MutableByteSpan out = output.first(std::min(output.size(), kMaxPiece));
  inflate_.next_in = const_cast<uint8_t*>(in.data());
  inflate_.avail_in = static_cast<uint32_t>(in.size());
  inflate_.next_out = out.data();
  inflate_.avail_out = static_cast<uint32_t>(out.size());
  const int code = isal_inflate(&inflate_);
  if (code < 0) return Corrupt(InflateErrorName(code));  // The counts mean nothing then.
  input = input.subspan(in.size() - inflate_.avail_in);
  const size_t written = out.size() - inflate_.avail_out;
  crc_ = UpdateCrc(crc_, out.first(written));
  size_ += static_cast<uint32_t>(written);
  if (inflate_.block_state == ISAL_BLOCK_FINISH) {
    TakeBackUnusedBits();
    step_ = Step::kTrailer;
  }
  return written;
}

Status GzipStreamDecoder::State::DecodeTrailer(ByteSpan& input) {
  if (!Collect(input, kTrailerSize)) return {};
  ByteReader reader(ByteSpan(scratch_).first(kTrailerSize));
  const bool crc_matches = reader.Read<uint32_t>() == crc_;
  const bool size_matches = reader.Read<uint32_t>() == size_;
  if (!crc_matches) return Corrupt("CRC-32 is wrong");
  if (!size_matches) return Corrupt("size in the trailer is wrong");
  fill_ = 0;
  had_member_ = true;
  step_ = Step::kFixedHeader;
  return {};
}

Result<size_t> GzipStreamDecoder::State::Decode(ByteSpan& input, MutableByteSpan output) {
  size_t written = 0;
  while (true) {
    if (step_ == Step::kBody) {
      if (written == output.size()) return written;
      LAYERFS_TRY(more, DecodeBody(input, output.subspan(written)));
      written += more;
      if (step_ == Step::kBody && written < output.size()) return written;
    } else {
      if (input.empty()) return written;
      LAYERFS_CHECK_OK(step_ == Step::kTrailer ? DecodeTrailer(input) : DecodeHeader(input));
    }
  }
}

GzipStreamDecoder::GzipStreamDecoder() : state_(std::make_unique<State>()) {}
GzipStreamDecoder::~GzipStreamDecoder() = default;
GzipStreamDecoder::GzipStreamDecoder(GzipStreamDecoder&&) noexcept = default;
GzipStreamDecoder& GzipStreamDecoder::operator=(GzipStreamDecoder&&) noexcept = default;
Result<size_t> GzipStreamDecoder::Decode(ByteSpan& input, MutableByteSpan output) {
  return state_->Decode(input, output);
}
bool GzipStreamDecoder::at_member_end() const { return state_->at_member_end(); }

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "index/tar_parser.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "index/pax_records.h"
#include "index/tar_entry.h"
#include "index/tar_header.h"
#include "index/tar_sparse.h"

namespace layerfs {
namespace {

bool AllZero(ByteSpan bytes) { return bytes.empty() || IsZeroBlock(bytes); }

}  // namespace

class TarParser::Impl {
 public:
  Impl(OnEntry on_entry, TarLimits limits) : on_entry_(std::move(on_entry)), limits_(limits) {}

  // Once it has failed it fails for good.
  Status Feed(ByteSpan bytes) {
    while (status_.has_value() && !bytes.empty()) status_ = Step(bytes);
    return status_;
  }
  Status Finish() const;
  uint64_t offset() const { return offset_; }

 private:
  enum class State {
    kHeader,     // a block: an entry's or an extension's header, or a part of the end marker
    kExtension,  // the payload of a PAX or GNU long-name header
    kOldSparse,  // a block: more of an old GNU sparse map
    kPaxSparse,  // a block: the sparse map in front of a PAX 1.0 payload
    kSkip,       // payload and padding
    kEnd,        // behind the end marker
  };

  Status Step(ByteSpan& bytes);
  ByteSpan Consume(ByteSpan& bytes, uint64_t size);
  Status StepBlock(ByteSpan& bytes);
  Status StepExtension(ByteSpan& bytes);
  Status StepEnd(ByteSpan& bytes);

  // These two leave `emit_` true when the entry is complete.
  Status TakeBlock(ByteSpan block);
  Status TakeHeader(ByteSpan block);
  Status TakeZeroBlock();
  Status TakePaxSparseBlock(ByteSpan block);
  Status BeginExtension(const TarHeader& header);
  Status FinishExtension();
  Status BeginEntry(const TarHeader& header);
  Status BeginPaxSparse();
  Status CompleteSparse();
  Status Emit();

  std::string Here() const { return "tar offset " + std::to_string(block_offset_); }
  std::unexpected<Error> Truncated(std::string_view what) const {
    return Fail(ErrorCode::kCorrupt,
                "tar offset " + std::to_string(offset_) + ": the tar ends in " + std::string(what));
  }

  const OnEntry on_entry_;
  const TarLimits limits_;
  Status status_;
  State state_ = State::kHeader;
  uint64_t offset_ = 0;

  std::array<uint8_t, kTarBlockSize> block_;
  size_t block_fill_ = 0;
  uint64_t block_offset_ = 0;  // of the last block that was looked at, for errors
  bool seen_zero_block_ = false;
  uint64_t padding_ = 0;

  char extension_type_ = 0;
  uint64_t extension_left_ = 0;
  Bytes extension_;
  // What the extension headers so far say about the entry to come.
  bool has_extension_ = false;
  uint64_t extension_start_ = 0;
  uint64_t extension_sum_ = 0;
  TarExtensions extensions_;

  TarEntry entry_;
  bool emit_ = false;
  SparseMap sparse_map_;
  std::optional<SparseMapReader> sparse_reader_;

  uint64_t payload_end_ = 0;
  uint64_t skip_ = 0;
};

ByteSpan TarParser::Impl::Consume(ByteSpan& bytes, uint64_t size) {
  const ByteSpan taken = bytes.first(std::min<uint64_t>(size, bytes.size()));
  bytes = bytes.subspan(taken.size());
  offset_ += taken.size();
  return taken;
}

Status TarParser::Impl::Step(ByteSpan& bytes) {
  switch (state_) {
    case State::kHeader:
    case State::kOldSparse:
    case State::kPaxSparse:
      return StepBlock(bytes);
    case State::kExtension:
      return StepExtension(bytes);
    case State::kSkip:
      skip_ -= Consume(bytes, skip_).size();
      if (skip_ == 0) state_ = State::kHeader;
      return {};
    case State::kEnd:
      return StepEnd(bytes);
  }
  return {};
}

Status TarParser::Impl::StepBlock(ByteSpan& bytes) {
  if (block_fill_ == 0 && bytes.size() >= kTarBlockSize) {
    const ByteSpan block = Consume(bytes, kTarBlockSize);
    return TakeBlock(block);
  }
  const ByteSpan part = Consume(bytes, kTarBlockSize - block_fill_);
  std::memcpy(block_.data() + block_fill_, part.data(), part.size());
  block_fill_ += part.size();
  if (block_fill_ < kTarBlockSize) return {};
  block_fill_ = 0;
  return TakeBlock(block_);
}

Status TarParser::Impl::StepExtension(ByteSpan& bytes) {
  const ByteSpan part = Consume(bytes, extension_left_);
  extension_.insert(extension_.end(), part.begin(), part.end());
  extension_left_ -= part.size();
  if (extension_left_ != 0) return {};
  LAYERFS_CHECK_OK_IN(FinishExtension(), Here());
  return {};
}

Status TarParser::Impl::StepEnd(ByteSpan& bytes) {
  const uint64_t start = offset_;
  const ByteSpan padding = Consume(bytes, bytes.size());
  padding_ += padding.size();
  const std::string where = "tar offset " + std::to_string(start) + ": ";
  if (!AllZero(padding)) {
    return Fail(ErrorCode::kCorrupt, where + "more than zeros behind the end-of-archive marker");
  }
  if (padding_ > limits_.padding_after_end) {
    return Fail(ErrorCode::kTooLarge, where + "more than " +
                                          std::to_string(limits_.padding_after_end) +
                                          " bytes behind the end-of-archive marker");
  }
  return {};
}

Status TarParser::Impl::TakeBlock(ByteSpan block) {
  block_offset_ = offset_ - kTarBlockSize;
  emit_ = false;
  switch (state_) {
    case State::kOldSparse: {
      constexpr size_t kSlots = 504;  // 21 of 24 bytes; then a flag: another block follows
      LAYERFS_CHECK_OK_IN(
          AppendOldGnuSlots(block.first(kSlots), limits_.sparse_extents, sparse_map_), Here());
      if (block[kSlots] == 0) LAYERFS_CHECK_OK_IN(CompleteSparse(), Here());
      break;
    }
    case State::kPaxSparse:
      LAYERFS_CHECK_OK_IN(TakePaxSparseBlock(block), Here());
      break;
    default:
      LAYERFS_CHECK_OK_IN(IsZeroBlock(block) ? TakeZeroBlock() : TakeHeader(block), Here());
  }
  return emit_ ? Emit() : Status();
}

Status TarParser::Impl::TakeZeroBlock() {
  if (has_extension_) return Fail(ErrorCode::kCorrupt, "extension headers without an entry");
  if (seen_zero_block_) state_ = State::kEnd;
  seen_zero_block_ = true;
  return {};
}

Status TarParser::Impl::TakeHeader(ByteSpan block) {
  if (seen_zero_block_) return Fail(ErrorCode::kCorrupt, "an entry behind a zero block");
  LAYERFS_TRY(header, TarHeader::Parse(block));
  switch (header.typeflag()) {
    case 'x':
    case 'X':  // Sun's tar
    case 'g':
    case 'L':
    case 'K':
      return BeginExtension(header);
    default:
      return BeginEntry(header);
  }
}

Status TarParser::Impl::BeginExtension(const TarHeader& header) {
  LAYERFS_TRY(size, header.Size());
  // A global header belongs to no entry (tar_parser.h): it is read for its form only.
  const bool is_global = header.typeflag() == 'g';
  const uint64_t before = is_global ? 0 : extension_sum_;
  if (size > limits_.extension_bytes || before + size > limits_.extension_bytes) {
    return Fail(ErrorCode::kTooLarge, "extension headers of more than " +
                                          std::to_string(limits_.extension_bytes) + " bytes");
  }
  if (!is_global) {
    if (!has_extension_) extension_start_ = block_offset_;
    has_extension_ = true;
    extension_sum_ += size;
  }
  extension_type_ = header.typeflag();
  extension_left_ = size;
  extension_.clear();
  state_ = State::kExtension;
  return size == 0 ? FinishExtension() : Status();
}

Status TarParser::Impl::FinishExtension() {
  const std::string_view text = AsText(extension_);
  switch (extension_type_) {
    case 'L':
      extensions_.gnu_path = text.substr(0, text.find('\0'));
      break;
    case 'K':
      extensions_.gnu_link_target = text.substr(0, text.find('\0'));
      break;
    case 'g':
      LAYERFS_CHECK_OK(ForEachPaxRecord(extension_, [](auto, auto) { return Status(); }));
      break;
    default:
      // Of several the last counts: so reads Go's archive/tar, and with it nearly every runtime.
      extensions_.pax = PaxOverrides();
      LAYERFS_CHECK_OK(ForEachPaxRecord(extension_, [&](auto key, auto value) {
        return extensions_.pax.Apply(key, value, limits_.sparse_extents);
      }));
  }
  payload_end_ = offset_;
  skip_ = AlignUp(extension_.size(), kTarBlockSize) - extension_.size();
  state_ = skip_ == 0 ? State::kHeader : State::kSkip;
  return {};
}

Status TarParser::Impl::BeginEntry(const TarHeader& header) {
  LAYERFS_TRY(entry, MakeTarEntry(header, offset_, limits_.path_bytes, extensions_));
  entry_ = std::move(entry);
  entry_.header_offset = has_extension_ ? extension_start_ : block_offset_;
  if (header.typeflag() == 'S') {
    if (!header.is_gnu()) {
      return Fail(ErrorCode::kUnsupported, "sparse files in star's format are not supported");
    }
    LAYERFS_TRY(real_size, header.SparseRealSize());
    entry_.size = real_size;
    sparse_map_.clear();
    LAYERFS_CHECK_OK(AppendOldGnuSlots(header.sparse_map(), limits_.sparse_extents, sparse_map_));
    if (!header.has_sparse_extension()) return CompleteSparse();
    state_ = State::kOldSparse;
    return {};
  }
  const PaxSparse& sparse = extensions_.pax.sparse;
  if (entry_.type == TarEntryType::kRegular && (!sparse.major.empty() || sparse.has_map)) {
    return BeginPaxSparse();
  }
  emit_ = true;
  return {};
}

Status TarParser::Impl::BeginPaxSparse() {
  PaxSparse& sparse = extensions_.pax.sparse;
  const bool is_0 = sparse.major == "0" && (sparse.minor == "0" || sparse.minor == "1");
  const bool is_0_unsaid = sparse.major.empty() && sparse.minor.empty();
  const bool is_1 = sparse.major == "1" && sparse.minor == "0";
  if (!is_0 && !is_0_unsaid && !is_1) {
    return Fail(ErrorCode::kUnsupported, "GNU sparse format " + sparse.major.substr(0, 16) + "." +
                                             sparse.minor.substr(0, 16) + " is not supported");
  }
  if (!sparse.real_size.has_value() || sparse.pending_offset.has_value()) {
    return Fail(ErrorCode::kCorrupt, "sparse map: the file's size or a run's is missing");
  }
  entry_.size = *sparse.real_size;
  if (is_1) {
    sparse_reader_.emplace(limits_.sparse_extents);
    state_ = State::kPaxSparse;
    return {};
  }
  sparse_map_ = std::move(sparse.map);
  if (sparse.run_count.has_value() && *sparse.run_count != sparse_map_.size()) {
    return Fail(ErrorCode::kCorrupt, "sparse map: not as many runs as it says");
  }
  return CompleteSparse();
}

Status TarParser::Impl::TakePaxSparseBlock(ByteSpan block) {
  if (entry_.data_size < kTarBlockSize) {
    return Fail(ErrorCode::kCorrupt, "sparse map: longer than the payload");
  }
  entry_.data_offset += kTarBlockSize;
  entry_.data_size -= kTarBlockSize;
  LAYERFS_TRY(is_complete, sparse_reader_->Feed(block));
  if (!is_complete) return {};
  sparse_map_ = std::move(*sparse_reader_).Take();
  return CompleteSparse();
}

Status TarParser::Impl::CompleteSparse() {
  entry_.sparse = true;
  entry_.data_offset = offset_;
  LAYERFS_TRY(extents,
              LaySparseMap(sparse_map_, {entry_.size, entry_.data_offset, entry_.data_size}));
  entry_.extents = std::move(extents);
  emit_ = true;
  return {};
}

Status TarParser::Impl::Emit() {
  payload_end_ = offset_ + entry_.data_size;
  skip_ = AlignUp(entry_.data_size, kTarBlockSize);
  state_ = skip_ == 0 ? State::kHeader : State::kSkip;
  if (has_extension_) {
    has_extension_ = false;
    extension_sum_ = 0;
    extensions_ = TarExtensions();
  }
  return on_entry_(std::move(entry_));
}

Status TarParser::Impl::Finish() const {
  LAYERFS_CHECK_OK(status_);
  switch (state_) {
    case State::kHeader:
      if (block_fill_ != 0) return Truncated("the middle of a header");
      if (has_extension_) return Truncated("extension headers without an entry");
      return {};
    case State::kExtension:
      return Truncated("the middle of an extension header");
    case State::kOldSparse:
    case State::kPaxSparse:
      return Truncated("the middle of a sparse map");
    case State::kSkip:
      // The last entry's padding may be missing; some writers leave it out.
      if (offset_ < payload_end_) return Truncated("the middle of a payload");
      if (has_extension_) return Truncated("extension headers without an entry");
      return {};
    case State::kEnd:
      return {};
  }
  return {};
}

TarParser::TarParser(OnEntry on_entry, TarLimits limits)
    : impl_(std::make_unique<Impl>(std::move(on_entry), limits)) {}
TarParser::~TarParser() = default;
Status TarParser::Feed(ByteSpan bytes) { return impl_->Feed(bytes); }
Status TarParser::Finish() { return impl_->Finish(); }
uint64_t TarParser::offset() const { return impl_->offset(); }

}  // namespace layerfs

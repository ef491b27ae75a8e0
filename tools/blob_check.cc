// SPDX-License-Identifier: Apache-2.0
#include "tools/blob_check.h"

#include <algorithm>
#include <optional>

#include "fetch/chunk_decoder.h"
#include "index/layer_decoder.h"
#include "index/layer_footer.h"
#include "index/tar_index_check.h"

namespace layerfs {
namespace {

// The chunks as they come in.
class ChunkStream {
 public:
  ChunkStream(const std::vector<ChunkRef>& chunks, uint64_t blob_size,
              const BlobCheck::Report& report)
      : chunks_(chunks), blob_size_(blob_size), report_(report) {}

  void Feed(ByteSpan bytes) {
    while (!bytes.empty() && next_ < chunks_.size()) {
      const ChunkRef& chunk = chunks_[next_];
      const uint64_t end = chunk.blob_offset + chunk.stored_size;
      if (stored_.empty() && !IsSound(chunk)) {
        ++next_;
        continue;
      }
      const bool before = position_ < chunk.blob_offset;
      const uint64_t until = before ? chunk.blob_offset : end;
      const ByteSpan part = bytes.first(std::min<uint64_t>(bytes.size(), until - position_));
      if (!before) stored_.insert(stored_.end(), part.begin(), part.end());
      position_ += part.size();
      bytes = bytes.subspan(part.size());
      if (position_ == end) Take(chunk);
    }
    position_ += bytes.size();
  }

  bool any_bad() const { return any_bad_; }
  // The tar, if all chunks have come and none was bad.
  std::optional<Digest> Tar() {
    if (any_bad_ || next_ < chunks_.size()) return std::nullopt;
    return tar_.Finish();
  }

 private:
  // Such as can be held, and comes yet.
  bool IsSound(const ChunkRef& chunk) {
    const Status sound = CheckChunkRef(chunk, blob_size_);
    if (!sound.has_value()) {
      Tell(chunk, sound.error().context);
    } else if (chunk.blob_offset < position_) {
      Tell(chunk, "begins before the chunk before it ends");
    } else {
      return true;
    }
    return false;
  }
  void Take(const ChunkRef& chunk) {
    const auto content = DecodeChunk(chunk, stored_);
    if (content.has_value()) {
      tar_.Update(**content);
    } else {
      Tell(chunk, content.error().context);
    }
    stored_.clear();
    ++next_;
  }
  void Tell(const ChunkRef& chunk, const std::string& finding) {
    any_bad_ = true;
    report_("chunk " + chunk.digest.ToString() + " at " + std::to_string(chunk.blob_offset),
            finding);
  }

  const std::vector<ChunkRef>& chunks_;
  const uint64_t blob_size_;
  const BlobCheck::Report& report_;
  size_t next_ = 0;
  uint64_t position_ = 0;  // in the blob
  Bytes stored_;           // of the chunk at next_, so far
  Sha256 tar_;
  bool any_bad_ = false;
};

// The blob as somebody reads it who knows nothing of chunks.
class PlainReading {
 public:
  explicit PlainReading(uint64_t blob_size) : blob_size_(blob_size) {}

  void Feed(ByteSpan bytes) {
    if (status_.has_value()) status_ = decoder_.Feed(bytes);
    tail_.insert(tail_.end(), bytes.begin(), bytes.end());
    if (tail_.size() > 2 * kTailBytes) tail_.erase(tail_.begin(), tail_.end() - kTailBytes);
  }
  // What is wrong with it for a layer with this index; `annotations` are its descriptor's.
  Result<std::vector<std::string>> Finish(const Index& index, const Annotations& annotations) {
    if (status_.has_value()) status_ = decoder_.Finish();
    if (!status_.has_value()) {
      return std::vector{"tools that read all of it cannot: " + status_.error().context};
    }
    std::vector<std::string> findings;
    const Digest tar = tar_.Finish();
    if (tar != index.layers()[0].diff_id) {
      findings.push_back("decompressed as a whole it is the tar " + tar.ToString());
    }
    LAYERFS_TRY(different, check_.Finish(index));
    if (different.has_value()) findings.push_back(*different);
    LAYERFS_TRY(annotated, DecodeIndexAnnotations(annotations, blob_size_));
    const auto footer = DecodeLayerFooter(tail_, blob_size_);
    // Behind the footer may be what other tools have added, as much as they like.
    const bool hidden = footer.has_value() && !footer->has_value() && EndsWithZstdChunked();
    if (!hidden && (!footer.has_value() || *footer != annotated)) {
      findings.emplace_back("its footer is damaged, or of another index than its descriptor's");
    }
    return findings;
  }

 private:
  static constexpr size_t kTailBytes = 4096;
  bool EndsWithZstdChunked() const { return AsText(tail_).ends_with(kZstdChunkedMagic); }

  const uint64_t blob_size_;
  Sha256 tar_;
  TarIndexCheck check_;
  LayerDecoder decoder_{[this](ByteSpan tar) {
    tar_.Update(tar);
    check_.Feed(tar);
    return Status();
  }};
  Status status_;
  Bytes tail_;
};

}  // namespace

bool IsDamage(const Error& error) {
  return error.code == ErrorCode::kDigestMismatch || error.code == ErrorCode::kCorrupt ||
         error.code == ErrorCode::kNotFound;
}

void BlobCheck::Add(const ChunkTableSegment& table) {
  for (const Chunk& chunk : table.chunks()) chunks_.push_back(chunk.ref);
}

Status BlobCheck::Run(ImageReader& reader, const std::atomic<bool>* stopped,
                      const Report& report) const {
  const std::string name = "blob " + layer_.digest.ToString();
  const Report report_chunk = [&](const std::string& object, const std::string& finding) {
    report(name, object + ": " + finding);
  };
  ChunkStream stream(chunks_, layer_.size, report_chunk);
  PlainReading plain(layer_.size);
  const Status read = reader.ReadBlob(layer_, [&](ByteSpan bytes) {
    if (stopped != nullptr && *stopped) return Status(Fail(ErrorCode::kCancelled, "cancelled"));
    stream.Feed(bytes);
    plain.Feed(bytes);
    return Status();
  });
  if (!read.has_value()) {
    if (!IsDamage(read.error())) return Fail(read.error().In(name));
    // A bad chunk says it more closely.
    if (!stream.any_bad()) report(reader.name(), read.error().context);
    return {};
  }
  const auto tar = stream.Tar();
  if (is_whole_ && tar.has_value() && *tar != diff_id_) {
    report(name, "its chunks make the tar " + tar->ToString() + "; its diff ID is " +
                     diff_id_.ToString());
  }
  // Bad chunks have been told of already.
  if (index_ == nullptr || stream.any_bad()) return {};
  LAYERFS_TRY(findings, plain.Finish(*index_, layer_.annotations));
  for (const std::string& finding : findings) report(name, finding);
  return {};
}

}  // namespace layerfs

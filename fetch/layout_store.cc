// SPDX-License-Identifier: Apache-2.0
#include "fetch/layout_store.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "fetch/layout_blob_source.h"
#include "fetch/layout_session.h"
#include "fetch/raw_document.h"

namespace layerfs {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;

class LayoutReader : public ImageReader {
 public:
  explicit LayoutReader(ImageReference reference)
      : reference_(std::move(reference)), layout_(reference_.path) {}

  Result<RawDocument> ReadRoot() override {
    if (!reference_.digest) {
      LAYERFS_TRY(descriptor, layout_.FindTag(reference_.tag));
      return ReadManifest(descriptor);
    }
    // A pinned manifest need not be in index.json: it may be one of an index's.
    if (!reference_.tag.empty()) {
      LAYERFS_TRY(descriptor, layout_.FindTag(reference_.tag));
      if (descriptor.digest == *reference_.digest) return ReadManifest(descriptor);
      return Fail(ErrorCode::kDigestMismatch,
                  reference_.ToString() + ": the tag names " + descriptor.digest.ToString());
    }
    LAYERFS_TRY(raw, ReadFile(layout_.BlobPath(*reference_.digest), kMaxManifestBytes));
    LAYERFS_TRY_IN(document, MakeDocument(std::move(raw), "", reference_.digest), name());
    return document;
  }

  Result<RawDocument> ReadManifest(const Descriptor& descriptor) override {
    LAYERFS_CHECK_OK_IN(CheckManifestSize(descriptor), name());
    if (auto embedded = EmbeddedDocument(descriptor)) return std::move(*embedded);
    LAYERFS_TRY(raw, ReadFile(layout_.BlobPath(descriptor.digest), kMaxManifestBytes));
    LAYERFS_TRY_IN(document, MakeDescribedDocument(std::move(raw), descriptor),
                   name() + ": manifest " + descriptor.digest.ToString());
    return document;
  }

  Status ReadBlob(const Descriptor& descriptor,
                  const std::function<Status(ByteSpan)>& on_data) override {
    if (descriptor.data) return on_data(*descriptor.data);
    LAYERFS_TRY_IN(fd, layout_.OpenBlob(descriptor.digest, descriptor.size), name());
    return ReadBlobFromFile(fd.get(), 0, descriptor, on_data);
  }

  std::shared_ptr<BlobSource> blob_source() override {
    std::call_once(source_once_, [&] { source_ = std::make_shared<LayoutBlobSource>(layout_); });
    return source_;
  }

  std::string name() const override { return reference_.ToString(); }

 private:
  const ImageReference reference_;
  const OciLayout layout_;
  std::once_flag source_once_;  // Threads only where ranges are read.
  std::shared_ptr<BlobSource> source_;
};

// What it has written and no image names is taken back when it goes without WriteRoot.
class LayoutWriter : public ImageWriter {
 public:
  explicit LayoutWriter(ImageReference reference)
      : reference_(std::move(reference)), layout_(reference_.path), session_(layout_) {}

  Result<bool> HasBlob(const Digest& digest, uint64_t size) override {
    LAYERFS_TRY(there, session_.BeginExisting());
    return there && layout_.HasBlob(digest, size);
  }
  Result<bool> MountBlob(const Digest& /*digest*/, const std::string& /*from*/) override {
    return false;
  }
  Status WriteBlob(const Digest& digest, uint64_t size, int fd,
                   const std::function<void(uint64_t)>& on_progress) override {
    const auto go_on = [&](uint64_t done) -> Status {
      if (on_progress) on_progress(done);
      if (cancelled_.load()) return Fail(ErrorCode::kCancelled, "cancelled");
      return {};
    };
    return Add(digest, size, [&] { return layout_.WriteBlob(digest, size, fd, go_on); });
  }
  void Cancel() override { cancelled_.store(true); }
  Status WriteManifest(const RawDocument& document) override {
    return Add(document.digest, document.raw.size(),
               [&] { return layout_.WriteBlobBytes(document.digest, document.raw); });
  }
  Status WriteRoot(const RawDocument& document) override {
    if (reference_.digest && *reference_.digest != document.digest) {
      return Fail(ErrorCode::kDigestMismatch,
                  name() + ": the image to write is " + document.digest.ToString());
    }
    LAYERFS_CHECK_OK(WriteManifest(document));
    Descriptor descriptor;
    descriptor.media_type = document.media_type;
    descriptor.digest = document.digest;
    descriptor.size = document.raw.size();
    LAYERFS_CHECK_OK(layout_.SetTag(reference_.tag, std::move(descriptor)));
    session_.Keep();
    return {};
  }
  std::string name() const override { return reference_.ToString(); }

 private:
  template <typename Write>
  Status Add(const Digest& digest, uint64_t size, Write write) {
    LAYERFS_CHECK_OK(session_.Begin());
    if (layout_.HasBlob(digest, size)) return {};
    LAYERFS_CHECK_OK(write());
    session_.Added(digest);
    return {};
  }

  const ImageReference reference_;
  const OciLayout layout_;
  LayoutSession session_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace

std::shared_ptr<ImageReader> MakeLayoutReader(const ImageReference& reference) {
  return std::make_shared<LayoutReader>(reference);
}
std::shared_ptr<ImageWriter> MakeLayoutWriter(const ImageReference& reference) {
  return std::make_shared<LayoutWriter>(reference);
}

Status ReadBlobFromFile(int fd, uint64_t offset, const Descriptor& descriptor,
                        const std::function<Status(ByteSpan)>& on_data) {
  const std::string blob = "blob " + descriptor.digest.ToString();
  Sha256 hasher;
  Bytes piece(std::min(descriptor.size, kPieceBytes));
  for (uint64_t done = 0; done < descriptor.size;) {
    const uint64_t want = std::min(descriptor.size - done, kPieceBytes);
    const MutableByteSpan span(piece.data(), want);
    LAYERFS_CHECK_OK_IN(ReadFullAt(fd, offset + done, span), blob);
    hasher.Update(span);
    done += want;
    LAYERFS_CHECK_OK(on_data(span));
  }
  if (const Digest actual = hasher.Finish(); actual != descriptor.digest) {
    return Fail(ErrorCode::kDigestMismatch, blob + ": its bytes are " + actual.ToString());
  }
  return {};
}

}  // namespace layerfs

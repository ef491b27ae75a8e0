// SPDX-License-Identifier: Apache-2.0
#include "fetch/raw_document.h"

namespace layerfs {

Result<RawDocument> MakeDocument(Bytes raw, std::string_view media_type_hint,
                                 const std::optional<Digest>& pin) {
  const Digest digest = Digest::Of(raw);
  if (pin && *pin != digest) {
    return Fail(ErrorCode::kDigestMismatch,
                "the bytes that came are " + digest.ToString() + ", not " + pin->ToString());
  }
  auto own = SniffMediaType(raw);
  // The header is only a hint: registries that answer application/json or text/plain exist.
  const bool hint_counts = media_type_hint.starts_with("application/vnd.");
  if (!own && (!hint_counts || own.error().code != ErrorCode::kCorrupt)) {
    return Fail(std::move(own).error());
  }
  std::string type = own ? *own : std::string(media_type_hint);
  return RawDocument{std::move(raw), std::move(type), digest};
}

std::optional<RawDocument> EmbeddedDocument(const Descriptor& descriptor) {
  if (!descriptor.data) return std::nullopt;  // Verified when the descriptor was parsed.
  return RawDocument{*descriptor.data, descriptor.media_type, descriptor.digest};
}

Result<RawDocument> MakeDescribedDocument(Bytes raw, const Descriptor& descriptor) {
  if (raw.size() != descriptor.size) {
    return Fail(
        ErrorCode::kDigestMismatch,
        std::to_string(raw.size()) + " bytes came, its size is " + std::to_string(descriptor.size));
  }
  LAYERFS_TRY(document, MakeDocument(std::move(raw), descriptor.media_type, descriptor.digest));
  document.media_type = descriptor.media_type;
  return document;
}

Status CheckManifestSize(const Descriptor& descriptor) {
  if (descriptor.size <= kMaxManifestBytes) return {};
  return Fail(ErrorCode::kTooLarge, "manifest " + descriptor.digest.ToString() + ": " +
                                        std::to_string(descriptor.size) + " bytes; the limit is " +
                                        std::to_string(kMaxManifestBytes));
}

}  // namespace layerfs

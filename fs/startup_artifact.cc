// SPDX-License-Identifier: Apache-2.0
#include "fs/startup_artifact.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "index/base/rfc3339.h"
#include "index/pack.h"

namespace layerfs {
namespace {

// image-spec manifest.md, "Guidance for an Empty Descriptor".
constexpr char kEmptyType[] = "application/vnd.oci.empty.v1+json";
constexpr std::string_view kEmptyDocument = "{}";

struct HeadPlace {
  uint64_t size = 0;
  Digest digest;
};

std::optional<HeadPlace> ParseHead(const std::string& text) {
  HeadPlace head;
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + colon, head.size);
  if (error != std::errc() || end != text.data() + colon) return std::nullopt;
  auto digest = Digest::Parse(std::string_view(text).substr(colon + 1));
  if (!digest.has_value()) return std::nullopt;
  head.digest = *digest;
  return head;
}

}  // namespace

RawDocument MakeStartupManifest(const StartupReference& reference,
                                const std::optional<StartupReferrer>& referrer) {
  Manifest manifest;
  manifest.media_type = media_type::kOciManifest;
  manifest.artifact_type = kStartupArtifactType;
  manifest.config.media_type = kEmptyType;
  manifest.config.digest = Digest::Of(AsBytes(kEmptyDocument));
  manifest.config.size = kEmptyDocument.size();
  const ByteSpan empty = AsBytes(kEmptyDocument);
  manifest.config.data = Bytes(empty.begin(), empty.end());
  Descriptor pack;
  pack.media_type = kStartupPackType;
  pack.digest = reference.blob;
  pack.size = reference.blob_size;
  pack.annotations[kStartupHeadAnnotation] =
      std::to_string(reference.head_size) + ":" + reference.head.ToString();
  manifest.layers.push_back(std::move(pack));
  if (referrer.has_value()) {
    manifest.subject = referrer->subject;
    manifest.annotations[kCreatedAnnotation] = FormatRfc3339(referrer->created_seconds);
  }
  RawDocument document;
  document.raw = manifest.Encode();
  document.media_type = manifest.media_type;
  document.digest = Digest::Of(document.raw);
  return document;
}

Result<StartupReference> ParseStartupManifest(ByteSpan raw, const Digest& image) {
  LAYERFS_TRY_IN(manifest, Manifest::Parse(raw), "startup artifact");
  if (manifest.layers.size() != 1 || manifest.layers[0].media_type != kStartupPackType) {
    return Fail(ErrorCode::kCorrupt, "startup artifact: its one layer is not a startup pack");
  }
  const Descriptor& pack = manifest.layers[0];
  const auto annotation = pack.annotations.find(kStartupHeadAnnotation);
  const auto head = annotation != pack.annotations.end() ? ParseHead(annotation->second)
                                                         : std::optional<HeadPlace>();
  if (!head.has_value() || head->size == 0 || head->size > kMaxPackHeadBytes ||
      head->size > pack.size) {
    return Fail(ErrorCode::kCorrupt, std::string("startup artifact: annotation ") +
                                         kStartupHeadAnnotation + ": missing or impossible");
  }
  return StartupReference{image, pack.digest, pack.size, head->digest, head->size};
}

Descriptor StartupEntry(const RawDocument& manifest, const Digest& image) {
  Descriptor entry;
  entry.media_type = manifest.media_type;
  entry.digest = manifest.digest;
  entry.size = manifest.raw.size();
  entry.artifact_type = kStartupArtifactType;
  entry.platform = Platform{"unknown", "unknown", ""};
  entry.annotations[kStartupImageAnnotation] = image.ToString();
  entry.data = manifest.raw;
  return entry;
}

const Descriptor* FindStartupEntry(const ImageIndex& index, const Digest& image) {
  for (const Descriptor& entry : index.manifests) {
    if (!media_type::IsManifest(entry.media_type)) continue;
    const auto belongs = entry.annotations.find(kStartupImageAnnotation);
    if (belongs != entry.annotations.end() && belongs->second == image.ToString()) return &entry;
  }
  return nullptr;
}

Descriptor StartupReferrerEntry(const RawDocument& manifest, const Digest& image,
                                int64_t created_seconds) {
  Descriptor entry = StartupEntry(manifest, image);
  entry.platform.reset();
  entry.annotations[kCreatedAnnotation] = FormatRfc3339(created_seconds);
  return entry;
}

std::optional<int64_t> CreatedSeconds(const Descriptor& entry) {
  const auto created = entry.annotations.find(kCreatedAnnotation);
  if (created == entry.annotations.end()) return std::nullopt;
  return ParseRfc3339(created->second);
}

const Descriptor* NewestStartup(std::span<const Descriptor> referrers) {
  const auto newest = std::ranges::max_element(referrers, {}, [](const Descriptor& entry) {
    return std::pair(CreatedSeconds(entry), entry.digest.Hex());
  });
  return newest != referrers.end() ? &*newest : nullptr;
}

}  // namespace layerfs

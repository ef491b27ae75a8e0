// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/add_startup.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "fs/file_reader.h"
#include "fs/startup_artifact.h"
#include "index/base/log.h"
#include "tools/build_time.h"
#include "tools/convert/spool_file.h"

namespace layerfs {
namespace {

// As convert embeds them: what is larger costs more to carry than the round that it saves.
constexpr size_t kMaxEmbeddedBytes = size_t{32} << 10;

Status WriteBytes(ImageWriter& writer, ByteSpan bytes) {
  const Digest digest = Digest::Of(bytes);
  const std::string name = "blob " + digest.ToString();
  LAYERFS_TRY_IN(there, writer.HasBlob(digest, bytes.size()), name);
  if (there) return {};
  LAYERFS_TRY(spool, SpoolFile::Open(""));
  LAYERFS_CHECK_OK(spool.Append(bytes));
  LAYERFS_CHECK_OK_IN(writer.WriteBlob(digest, bytes.size(), spool.fd(), [](uint64_t /*sent*/) {}),
                      name);
  return {};
}

RawDocument MakeIndexDocument(const ImageIndex& index) {
  RawDocument document;
  document.raw = index.Encode();
  document.media_type = index.media_type;
  document.digest = Digest::Of(document.raw);
  return document;
}

// The image index that the reference names, or one around the manifest that it names.
Result<ImageIndex> IndexOf(Image& image, const RawDocument& root) {
  if (media_type::IsIndex(root.media_type)) return ImageIndex::Parse(root.raw);
  LAYERFS_TRY(config, image.Config());
  ImageIndex index;
  index.media_type = media_type::kOciIndex;
  Descriptor entry;
  entry.media_type = root.media_type;
  entry.digest = root.digest;
  entry.size = root.raw.size();
  entry.platform = config.platform;
  if (root.raw.size() <= kMaxEmbeddedBytes) entry.data = root.raw;
  index.manifests.push_back(std::move(entry));
  return index;
}

Result<RawDocument> WithStartup(Image& image, const RawDocument& root,
                                const RawDocument& artifact) {
  LAYERFS_TRY_IN(index, IndexOf(image, root), image.reference().ToString());
  while (const Descriptor* const old = FindStartupEntry(index, image.manifest_digest())) {
    index.manifests.erase(index.manifests.begin() + (old - index.manifests.data()));
  }
  index.manifests.push_back(StartupEntry(artifact, image.manifest_digest()));
  return MakeIndexDocument(index);
}

struct Place {
  ImageReader& reader;
  ImageWriter& writer;
};

// The blobs of an artifact.
Status WriteArtifactBlobs(ImageWriter& writer, const RawDocument& artifact, ByteSpan pack) {
  LAYERFS_CHECK_OK_IN(WriteBytes(writer, pack), writer.name());
  LAYERFS_TRY_IN(manifest, Manifest::Parse(artifact.raw), "startup artifact");
  LAYERFS_CHECK_OK_IN(WriteBytes(writer, *manifest.config.data), writer.name());
  return {};
}

// Into the image index.
Status Enter(Image& image, const StartupReference& reference, const Place& place, ByteSpan pack,
             AddStartupReport& report) {
  const RawDocument artifact = MakeStartupManifest(reference, std::nullopt);
  LAYERFS_CHECK_OK(WriteArtifactBlobs(place.writer, artifact, pack));
  LAYERFS_TRY(root, place.reader.ReadRoot());
  LAYERFS_CHECK_OK_IN(place.writer.WriteManifest(artifact), place.writer.name());
  LAYERFS_TRY(index, WithStartup(image, root, artifact));
  LAYERFS_CHECK_OK_IN(place.writer.WriteRoot(index), place.writer.name());
  report.root = index.digest;
  report.artifact = artifact.digest;
  return {};
}

Descriptor SubjectOf(const Image& image) {
  Descriptor subject;
  subject.media_type = image.manifest().media_type;
  subject.digest = image.manifest_digest();
  subject.size = image.raw_manifest().size();
  return subject;
}

// The referrer that a mount would use by now.
std::optional<Descriptor> FindAttached(const Image& image, ImageReader& reader) {
  const auto referrers = reader.ReadReferrers(image.manifest_digest(), kStartupArtifactType);
  if (!referrers.has_value()) {
    LogWarning(image.reference().ToString() + ": no referrers: " + referrers.error().context);
    return std::nullopt;
  }
  const Descriptor* const newest = NewestStartup(*referrers);
  return newest != nullptr ? std::optional(*newest) : std::nullopt;
}

bool IsSamePack(const Descriptor& attached, const StartupReference& reference,
                ImageReader& reader) {
  const auto manifest = reader.ReadManifest(attached);
  if (!manifest.has_value()) return false;
  const auto parsed = ParseStartupManifest(manifest->raw, reference.image);
  return parsed.has_value() && *parsed == reference;
}

Status Attach(const Image& image, const AddStartupOptions& options,
              const StartupReference& reference, const Place& place, ByteSpan pack,
              AddStartupReport& report) {
  LAYERFS_TRY(root, place.reader.ReadRoot());
  report.root = root.digest;
  StartupReferrer referrer{SubjectOf(image), options.created_seconds};
  if (const auto attached = FindAttached(image, place.reader)) {
    report.superseded = report.artifact = attached->digest;
    report.was_there = IsSamePack(*attached, reference, place.reader);
    if (report.was_there) return {};
    // Made elsewhere, by a clock that is ahead.
    const auto created = CreatedSeconds(*attached);
    if (created.has_value() && *created >= referrer.created_seconds) {
      referrer.created_seconds = std::min(*created + 1, kLastSecond);
    }
  }
  const RawDocument artifact = MakeStartupManifest(reference, referrer);
  LAYERFS_CHECK_OK(WriteArtifactBlobs(place.writer, artifact, pack));
  const Descriptor entry =
      StartupReferrerEntry(artifact, image.manifest_digest(), referrer.created_seconds);
  LAYERFS_CHECK_OK_IN(place.writer.WriteReferrer(artifact, entry, referrer.subject),
                      place.writer.name());
  report.artifact = artifact.digest;
  return {};
}

}  // namespace

Result<AddStartupReport> AddStartup(const AddStartupOptions& options, const ImageContext& context) {
  const auto began = std::chrono::steady_clock::now();
  ImageOptions load = options.load;
  load.startup = false;
  LAYERFS_TRY(image, Image::Load(options.image, context, load));
  FileReader files(image, context, FileReader::Options{load.timeout});
  LAYERFS_TRY_IN(built,
                 BuildStartupPack(*image, files, context.scheduler, options.traces, options.pack),
                 options.image.ToString());
  LAYERFS_TRY(report, PublishStartup(*image, built, options, context));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return report;
}

Result<AddStartupReport> PublishStartup(Image& image, const BuiltPack& built,
                                        const AddStartupOptions& options,
                                        const ImageContext& context) {
  LAYERFS_TRY(writer, context.stores.OpenWriter(options.tag.value_or(options.image)));
  LAYERFS_TRY(reader, context.stores.OpenReader(options.image));
  StartupReference reference;
  reference.image = image.manifest_digest();
  reference.blob = Digest::Of(built.blob);
  reference.blob_size = built.blob.size();
  reference.head_size = built.head.EncodedSize();
  reference.head = Digest::Of(ByteSpan(built.blob).first(reference.head_size));
  AddStartupReport report;
  LAYERFS_CHECK_OK(options.as_referrer
                       ? Attach(image, options, reference, {*reader, *writer}, built.blob, report)
                       : Enter(image, reference, {*reader, *writer}, built.blob, report));
  report.pack_bytes = built.blob.size();
  report.page_bytes = uint64_t{built.head.page_count} * kPackPageBytes;
  report.gap_bytes = uint64_t{built.gap_pages} * kPackPageBytes;
  report.stored_page_bytes = built.stored_page_bytes;
  report.stored_tree_bytes = built.stored_tree_bytes;
  report.runs = built.head.run_count;
  report.missing_paths = built.missing_paths;
  return report;
}

void WarnOfMissingPaths(const AddStartupReport& report, std::FILE* to) {
  if (report.missing_paths == 0) return;
  std::fprintf(to, "%lu paths of the traces are not in the image; record it anew\n",
               static_cast<unsigned long>(report.missing_paths));
}

}  // namespace layerfs

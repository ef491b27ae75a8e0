// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/add_startup.h"

#include <chrono>
#include <utility>

#include "fs/file_reader.h"
#include "fs/startup_artifact.h"
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

Descriptor SubjectOf(const Image& image) {
  Descriptor subject;
  subject.media_type = image.manifest().media_type;
  subject.digest = image.manifest_digest();
  subject.size = image.raw_manifest().size();
  return subject;
}

}  // namespace

Result<AddStartupReport> AddStartup(const AddStartupOptions& options, const ImageContext& context) {
  const auto began = std::chrono::steady_clock::now();
  ImageOptions load = options.load;
  load.startup = false;
  LAYERFS_TRY(image, Image::Load(options.image, context, load));
  LAYERFS_TRY(writer, context.stores.OpenWriter(options.tag.value_or(options.image)));
  LAYERFS_TRY(reader, context.stores.OpenReader(options.image));
  FileReader files(image, context, FileReader::Options{load.timeout});
  LAYERFS_TRY_IN(built,
                 BuildStartupPack(*image, files, context.scheduler, options.traces, options.pack),
                 options.image.ToString());

  StartupReference reference;
  reference.image = image->manifest_digest();
  reference.blob = Digest::Of(built.blob);
  reference.blob_size = built.blob.size();
  reference.head_size = built.head.EncodedSize();
  reference.head = Digest::Of(ByteSpan(built.blob).first(reference.head_size));
  std::optional<Descriptor> subject;
  if (options.as_referrer) subject = SubjectOf(*image);
  const RawDocument artifact = MakeStartupManifest(reference, subject);
  LAYERFS_CHECK_OK_IN(WriteBytes(*writer, built.blob), writer->name());
  LAYERFS_TRY_IN(manifest, Manifest::Parse(artifact.raw), "startup artifact");
  LAYERFS_CHECK_OK_IN(WriteBytes(*writer, *manifest.config.data), writer->name());

  AddStartupReport report;
  LAYERFS_TRY(root, reader->ReadRoot());
  if (options.as_referrer) {
    Descriptor entry = StartupEntry(artifact, image->manifest_digest());
    entry.platform.reset();
    LAYERFS_CHECK_OK_IN(writer->WriteReferrer(artifact, entry, *subject), writer->name());
    report.root = root.digest;
  } else {
    LAYERFS_CHECK_OK_IN(writer->WriteManifest(artifact), writer->name());
    LAYERFS_TRY(index, WithStartup(*image, root, artifact));
    LAYERFS_CHECK_OK_IN(writer->WriteRoot(index), writer->name());
    report.root = index.digest;
  }
  report.artifact = artifact.digest;
  report.pack_bytes = built.blob.size();
  report.page_bytes = uint64_t{built.head.page_count} * kPackPageBytes;
  report.stored_page_bytes = built.stored_page_bytes;
  report.stored_tree_bytes = built.stored_tree_bytes;
  report.runs = built.head.run_count;
  report.missing_paths = built.missing_paths;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return report;
}

}  // namespace layerfs

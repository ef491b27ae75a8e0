// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/source_image.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fs/startup_artifact.h"

namespace layerfs {
namespace {

// Configs are a few KiB; registries refuse such as are larger than a manifest may be.
constexpr uint64_t kMaxConfigBytes = uint64_t{8} << 20;
// Of indexes in indexes; nobody is known to write more than one level.
constexpr int kMaxIndexDepth = 4;
constexpr size_t kMaxIndexEntries = 10000;

bool IsImageConfig(std::string_view type) {
  return type == media_type::kOciConfig || type == media_type::kDockerConfig;
}

// BuildKit lists attestations under a platform that nothing runs on.
bool IsAttestation(const Descriptor& entry) {
  return entry.annotations.contains("vnd.docker.reference.type") ||
         (entry.platform.has_value() && entry.platform->os == "unknown" &&
          entry.platform->architecture == "unknown");
}

bool IsWanted(const Platform& platform, const std::vector<Platform>& wanted) {
  return wanted.empty() ||
         std::ranges::any_of(wanted, [&](const Platform& one) { return platform.Satisfies(one); });
}

// Variants are left out in one of the two often enough.
bool IsSameMachine(const Platform& one, const Platform& other) {
  return one.os == other.os && one.architecture == other.architecture;
}

Status CheckLayers(const Manifest& manifest, const std::vector<Digest>& diff_ids) {
  if (manifest.layers.size() != diff_ids.size()) {
    return Fail(ErrorCode::kCorrupt, "lists " + std::to_string(diff_ids.size()) + " diff IDs for " +
                                         std::to_string(manifest.layers.size()) + " layers");
  }
  for (const Descriptor& layer : manifest.layers) {
    if (media_type::IsLayer(layer.media_type)) continue;
    return Fail(ErrorCode::kUnsupported, "layer " + layer.digest.ToString() +
                                             " has the media type " + layer.media_type +
                                             ", which is no image layer");
  }
  return {};
}

Result<SourceImage> ReadImage(ImageReader& reader, const RawDocument& document) {
  SourceImage image;
  LAYERFS_TRY(manifest, Manifest::Parse(document.raw));
  image.entry.media_type = document.media_type;
  image.entry.digest = document.digest;
  image.entry.size = document.raw.size();
  image.manifest = std::move(manifest);
  const Descriptor& config = image.manifest.config;
  if (!IsImageConfig(config.media_type)) {
    return Fail(ErrorCode::kUnsupported,
                "its config has the media type " + config.media_type + ": it is not an image");
  }
  const std::string config_name = "config " + config.digest.ToString();
  LAYERFS_TRY_IN(raw, ReadConfig(reader, config), config_name);
  LAYERFS_TRY_IN(parsed, ImageConfig::Parse(raw), config_name);
  LAYERFS_CHECK_OK_IN(CheckLayers(image.manifest, parsed.diff_ids), config_name);
  image.config = std::move(raw);
  image.platform = parsed.platform;
  image.diff_ids = std::move(parsed.diff_ids);
  return image;
}

std::string ListPlatforms(const std::vector<Platform>& platforms) {
  std::string list;
  for (const Platform& platform : platforms) {
    list += (list.empty() ? "" : ", ") + platform.ToString();
  }
  return list;
}

// Why the entry is left out; empty where it is an image.
std::string ReasonToLeaveOut(const Descriptor& entry) {
  if (entry.artifact_type == kStartupArtifactType) {
    return "the startup pack of the image as it was; --trace adds one";
  }
  if (IsAttestation(entry)) return "an attestation of the image as it was";
  if (!entry.artifact_type.empty()) return "an artifact (" + entry.artifact_type + ")";
  if (entry.platform.has_value() && entry.platform->os == "unknown") {
    return "an artifact (for no platform)";
  }
  if (!media_type::IsManifest(entry.media_type)) return "not an image (" + entry.media_type + ")";
  return "";
}

// With the entries of the indexes in it in their places (image-spec, image-index.md: an entry may
// be an index), down to `depth` of them.
Status Flatten(ImageReader& reader, std::vector<Descriptor>& entries, int depth,
               std::vector<std::string>& notes) {
  std::vector<Descriptor> flat;
  for (Descriptor& entry : entries) {
    if (!media_type::IsIndex(entry.media_type) || !entry.artifact_type.empty()) {
      flat.push_back(std::move(entry));
      continue;
    }
    const std::string name = "image index " + entry.digest.ToString();
    if (depth == 0) return Fail(ErrorCode::kUnsupported, name + ": is too deep in other indexes");
    LAYERFS_TRY_IN(document, reader.ReadManifest(entry), name);
    LAYERFS_TRY_IN(nested, ImageIndex::Parse(document.raw), name);
    LAYERFS_CHECK_OK(Flatten(reader, nested.manifests, depth - 1, notes));
    notes.push_back(name + " is in another one: its images become the outer one's.");
    std::ranges::move(nested.manifests, std::back_inserter(flat));
    if (flat.size() > kMaxIndexEntries) {
      return Fail(ErrorCode::kTooLarge, name + ": there are too many images in it and the others");
    }
  }
  entries = std::move(flat);
  return {};
}

Status ReadIndexImages(ImageReader& reader, const std::vector<Platform>& wanted,
                       SourceImages& source) {
  std::vector<Platform> offered;
  for (const Descriptor& entry : source.index->manifests) {
    const std::string reason = ReasonToLeaveOut(entry);
    if (!reason.empty()) {
      source.notes.push_back("manifest " + entry.digest.ToString() + " is left out: it is " +
                             reason + ".");
      continue;
    }
    if (entry.platform.has_value()) {
      offered.push_back(*entry.platform);
      if (!IsWanted(*entry.platform, wanted)) continue;
    }
    const std::string name = "manifest " + entry.digest.ToString();
    LAYERFS_TRY_IN(document, reader.ReadManifest(entry), name);
    LAYERFS_TRY_IN(image, ReadImage(reader, document), name);
    if (!entry.platform.has_value()) {
      offered.push_back(image.platform);
      if (!IsWanted(image.platform, wanted)) continue;
    }
    if (entry.platform.has_value() && !IsSameMachine(*entry.platform, image.platform)) {
      source.notes.push_back(name + " is listed for " + entry.platform->ToString() +
                             ", but its config says " + image.platform.ToString() + ".");
    }
    if (entry.platform.has_value()) image.platform = *entry.platform;
    image.entry = entry;
    source.images.push_back(std::move(image));
  }
  for (const Platform& one : wanted) {
    if (std::ranges::any_of(offered, [&](const Platform& has) { return has.Satisfies(one); })) {
      continue;
    }
    return Fail(ErrorCode::kNotFound, "no image for the platform " + one.ToString() +
                                          "; there is " + ListPlatforms(offered));
  }
  if (source.images.empty()) {
    return Fail(ErrorCode::kNotFound, "the image index has no images" +
                                          (source.notes.empty() ? "" : ": " + source.notes[0]));
  }
  return {};
}

Status ReadSingleImage(ImageReader& reader, const RawDocument& root,
                       const std::vector<Platform>& wanted, SourceImages& source) {
  if (!media_type::IsManifest(root.media_type)) {
    return Fail(ErrorCode::kUnsupported,
                "the media type " + root.media_type + " is neither an image nor an image index");
  }
  LAYERFS_TRY_IN(image, ReadImage(reader, root), "manifest " + root.digest.ToString());
  if (!IsWanted(image.platform, wanted)) {
    return Fail(ErrorCode::kNotFound, "no image for the platform " + ListPlatforms(wanted) +
                                          "; there is " + image.platform.ToString());
  }
  source.images.push_back(std::move(image));
  return {};
}

}  // namespace

Result<Bytes> ReadConfig(ImageReader& reader, const Descriptor& descriptor) {
  if (descriptor.size > kMaxConfigBytes) {
    return Fail(ErrorCode::kTooLarge, std::to_string(descriptor.size) + " bytes; at most " +
                                          std::to_string(kMaxConfigBytes) + " are read");
  }
  Bytes config;
  LAYERFS_CHECK_OK(reader.ReadBlob(descriptor, [&config](ByteSpan bytes) -> Status {
    if (bytes.size() > kMaxConfigBytes - config.size()) {
      return Fail(ErrorCode::kTooLarge, "more bytes than its descriptor says");
    }
    config.insert(config.end(), bytes.begin(), bytes.end());
    return {};
  }));
  return config;
}

Result<SourceImages> ReadSource(ImageReader& reader, const std::vector<Platform>& wanted) {
  SourceImages source;
  LAYERFS_TRY(root, reader.ReadRoot());
  if (!media_type::IsIndex(root.media_type)) {
    LAYERFS_CHECK_OK_IN(ReadSingleImage(reader, root, wanted, source), reader.name());
    return source;
  }
  LAYERFS_TRY_IN(index, ImageIndex::Parse(root.raw),
                 reader.name() + ": image index " + root.digest.ToString());
  LAYERFS_CHECK_OK_IN(Flatten(reader, index.manifests, kMaxIndexDepth, source.notes),
                      reader.name());
  source.index = std::move(index);
  LAYERFS_CHECK_OK_IN(ReadIndexImages(reader, wanted, source), reader.name());
  return source;
}

}  // namespace layerfs

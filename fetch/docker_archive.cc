// SPDX-License-Identifier: Apache-2.0
#include "fetch/docker_archive.h"

#include <algorithm>
#include <map>

#include "fetch/archive_index.h"
#include "fetch/layout_store.h"

namespace layerfs {
namespace {

constexpr char kDockerLayerZstd[] = "application/vnd.docker.image.rootfs.diff.tar.zstd";

// One element of manifest.json.
struct SavedImage {
  std::string config;
  std::vector<std::string> names;
  std::vector<std::string> layers;
};

Result<std::vector<std::string>> StringsMember(const Json& object, const std::string& key) {
  std::vector<std::string> strings;
  LAYERFS_TRY(array, JsonOptionalArray(object, key));
  if (array == nullptr) return strings;
  for (const Json& element : *array) {
    if (!element.is_string()) {
      return Fail(ErrorCode::kCorrupt, "JSON member \"" + key + "\": not all strings");
    }
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

Result<std::vector<SavedImage>> ParseManifestFile(ByteSpan raw) {
  LAYERFS_TRY(json, ParseJson(raw, kMaxManifestBytes));
  if (!json.is_array()) return Fail(ErrorCode::kCorrupt, "not a JSON array");
  std::vector<SavedImage> images;
  for (const Json& element : json) {
    LAYERFS_TRY(config, JsonString(element, "Config"));
    LAYERFS_TRY(names, StringsMember(element, "RepoTags"));
    LAYERFS_TRY(layers, StringsMember(element, "Layers"));
    images.push_back({std::move(config), std::move(names), std::move(layers)});
  }
  return images;
}

// "debian" and "docker.io/library/debian:latest" are one name.
std::string FullName(const std::string& name) {
  const auto reference = ImageReference::Parse("docker://" + name);
  return reference ? reference->ToString() : name;
}

// By the names that Choose takes.
std::string ListNames(const std::vector<SavedImage>& images) {
  std::string list;
  for (size_t i = 0; i < images.size(); ++i) {
    const std::vector<std::string>& names = images[i].names;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    if (names.empty()) list += (list.empty() ? "@" : ", @") + std::to_string(i);
    if (list.size() > 400) return list + ", …";
  }
  return list.empty() ? "nothing" : list;
}

// `name`: empty for the only image, "NAME:TAG", or "@N" for the one at that place, from 0, as
// skopeo has it (containers-transports(5)).
Result<SavedImage> Choose(const std::vector<SavedImage>& images, const std::string& name) {
  std::vector<SavedImage> found;
  for (size_t i = 0; i < images.size(); ++i) {
    if (name == "@" + std::to_string(i)) return images[i];
  }
  const std::string wanted = FullName(name);
  for (const SavedImage& image : images) {
    const bool named = std::ranges::any_of(
        image.names, [&](const std::string& other) { return FullName(other) == wanted; });
    if (name.empty() || named) found.push_back(image);
  }
  if (found.size() == 1) return found[0];
  const std::string what = name.empty() ? "no name is given" : "no single image \"" + name + "\"";
  return Fail(found.empty() ? ErrorCode::kNotFound : ErrorCode::kInvalidArgument,
              what + "; there is: " + ListNames(images));
}

class DockerArchiveReader : public ImageReader {
 public:
  DockerArchiveReader(ImageReference reference, ArchiveIndex archive)
      : reference_(std::move(reference)), archive_(std::move(archive)) {}

  Status Load() {
    if (!archive_.Has("manifest.json")) {
      const bool layout = archive_.Has("index.json");
      return Fail(ErrorCode::kUnsupported,
                  layout ? "an OCI archive, not docker's; unpack it first (skopeo copy "
                           "oci-archive:FILE oci:DIRECTORY:TAG)"
                         : "no manifest.json in it, so it is not from docker save");
    }
    LAYERFS_TRY(raw, archive_.Read("manifest.json", kMaxManifestBytes));
    LAYERFS_TRY_IN(images, ParseManifestFile(raw), "manifest.json");
    LAYERFS_TRY(image, Choose(images, reference_.tag));
    LAYERFS_TRY(config_raw, archive_.Read(image.config, kMaxManifestBytes));
    LAYERFS_TRY_IN(config, ImageConfig::Parse(config_raw), "member \"" + image.config + "\"");
    if (config.diff_ids.size() != image.layers.size()) {
      return Fail(ErrorCode::kCorrupt,
                  "manifest.json names " + std::to_string(image.layers.size()) +
                      " layers, the image's config has " + std::to_string(config.diff_ids.size()));
    }
    return MakeDocuments(image, config, config_raw);
  }

  Result<RawDocument> ReadRoot() override {
    if (!reference_.digest || *reference_.digest == root_.digest) return root_;
    return Fail(ErrorCode::kDigestMismatch,
                name() + ": its manifest is " + root_.digest.ToString());
  }
  Result<RawDocument> ReadManifest(const Descriptor& descriptor) override {
    if (descriptor.digest == root_.digest) return root_;
    return Fail(ErrorCode::kNotFound, name() + ": manifest " + descriptor.digest.ToString());
  }
  Status ReadBlob(const Descriptor& descriptor,
                  const std::function<Status(ByteSpan)>& on_data) override {
    const auto it = blobs_.find(descriptor.digest);
    if (it == blobs_.end() || it->second.size != descriptor.size) {
      return Fail(ErrorCode::kNotFound, name() + ": blob " + descriptor.digest.ToString());
    }
    const Status read = ReadBlobFromFile(archive_.fd(), it->second.offset, descriptor, on_data);
    if (!read) return Fail(read.error().In(name()));
    return read;
  }
  std::shared_ptr<BlobSource> blob_source() override { return nullptr; }
  std::string name() const override { return reference_.ToString(); }

 private:
  Status MakeDocuments(const SavedImage& image, const ImageConfig& config,
                       const Bytes& config_raw) {
    Manifest manifest;
    manifest.media_type = media_type::kDockerManifest;
    manifest.config.media_type = media_type::kDockerConfig;
    manifest.config.digest = Digest::Of(config_raw);
    manifest.config.size = config_raw.size();
    LAYERFS_TRY(config_member, archive_.Find(image.config));
    blobs_[manifest.config.digest] = config_member;
    for (size_t i = 0; i < image.layers.size(); ++i) {
      LAYERFS_TRY_IN(layer, DescribeLayer(image.layers[i], config.diff_ids[i]),
                     "layer " + std::to_string(i));
      manifest.layers.push_back(std::move(layer));
    }
    root_.raw = manifest.Encode();
    root_.media_type = manifest.media_type;
    root_.digest = Digest::Of(root_.raw);
    return {};
  }

  // An uncompressed layer's digest is its diff ID, which reading verifies; a compressed one's has
  // to be computed.
  Result<Descriptor> DescribeLayer(const std::string& member_name, const Digest& diff_id) {
    LAYERFS_TRY(member, archive_.Find(member_name));
    Descriptor layer;
    layer.size = member.size;
    Bytes magic(std::min<uint64_t>(member.size, 4));
    LAYERFS_CHECK_OK(ReadFullAt(archive_.fd(), member.offset, magic));
    if (AsText(magic).starts_with("\x1f\x8b")) {
      layer.media_type = media_type::kDockerLayerGzip;
    } else if (AsText(magic) == "\x28\xb5\x2f\xfd") {
      layer.media_type = kDockerLayerZstd;
    } else {
      layer.media_type = media_type::kDockerLayerTar;
      layer.digest = diff_id;
      blobs_[layer.digest] = member;
      return layer;
    }
    Sha256 hasher;
    Bytes piece;
    for (uint64_t done = 0; done < member.size; done += piece.size()) {
      piece.resize(std::min<uint64_t>(member.size - done, 1 << 20));
      LAYERFS_CHECK_OK(ReadFullAt(archive_.fd(), member.offset + done, piece));
      hasher.Update(piece);
    }
    layer.digest = hasher.Finish();
    blobs_[layer.digest] = member;
    return layer;
  }

  const ImageReference reference_;
  const ArchiveIndex archive_;
  RawDocument root_;
  std::map<Digest, ArchiveMember> blobs_;
};

}  // namespace

Result<std::shared_ptr<ImageReader>> OpenDockerArchive(const ImageReference& reference) {
  LAYERFS_TRY(archive, ArchiveIndex::Open(reference.path));
  auto reader = std::make_shared<DockerArchiveReader>(reference, std::move(archive));
  LAYERFS_CHECK_OK_IN(reader->Load(), reference.ToString());
  return std::shared_ptr<ImageReader>(std::move(reader));
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fetch/manifest.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "fetch/base64.h"

namespace layerfs {
namespace {

// Wrong words in a document are broken bytes, whoever noticed them first.
Error Corrupt(Error error) {
  if (error.code == ErrorCode::kInvalidArgument) error.code = ErrorCode::kCorrupt;
  return error;
}

std::unexpected<Error> Refuse(std::string what) {
  return Fail(ErrorCode::kCorrupt, std::move(what));
}

Result<Digest> DigestMember(const Json& object, std::string_view key) {
  LAYERFS_TRY(text, JsonString(object, key));
  auto digest = Digest::Parse(text);
  if (!digest) {
    return Fail(Corrupt(std::move(digest).error()).In("JSON member \"" + std::string(key) + "\""));
  }
  return *digest;
}

Result<std::map<std::string, std::string>> AnnotationsMember(const Json& object) {
  std::map<std::string, std::string> annotations;
  LAYERFS_TRY(members, JsonOptionalObject(object, "annotations"));
  if (members == nullptr) return annotations;
  for (const auto& [key, value] : members->items()) {
    if (!value.is_string()) return Refuse("annotations[\"" + key + "\"]: not a string");
    annotations[key] = value.get<std::string>();
  }
  return annotations;
}

Result<std::vector<std::string>> UrlsMember(const Json& object) {
  std::vector<std::string> urls;
  LAYERFS_TRY(members, JsonOptionalArray(object, "urls"));
  if (members == nullptr) return urls;
  for (const Json& url : *members) {
    if (!url.is_string()) return Refuse("JSON member \"urls\": not all strings");
    urls.push_back(url.get<std::string>());
  }
  return urls;
}

Result<std::optional<Platform>> PlatformMember(const Json& object) {
  LAYERFS_TRY(member, JsonOptionalObject(object, "platform"));
  if (member == nullptr) return std::nullopt;
  Platform platform;
  LAYERFS_TRY_IN(os, JsonString(*member, "os"), "platform");
  LAYERFS_TRY_IN(architecture, JsonString(*member, "architecture"), "platform");
  LAYERFS_TRY_IN(variant, JsonOptionalString(*member, "variant"), "platform");
  return std::optional(Platform{os, architecture, variant});
}

Result<std::optional<Bytes>> DataMember(const Json& object, const Digest& digest, uint64_t size) {
  LAYERFS_TRY(text, JsonOptionalString(object, "data"));
  const bool present = object.contains("data") && !object["data"].is_null();
  if (!present) return std::nullopt;
  LAYERFS_TRY_IN(data, Base64Decode(text), "JSON member \"data\"");
  if (data.size() != size) {
    return Refuse("JSON member \"data\": " + std::to_string(data.size()) +
                  " bytes, the size says " + std::to_string(size));
  }
  if (Digest::Of(data) != digest) {
    return Fail(ErrorCode::kDigestMismatch,
                "JSON member \"data\": not the bytes of " + digest.ToString());
  }
  return std::optional(std::move(data));
}

// The members of `object` that are not in `known`, in their order.
Json Unknown(const Json& object, std::initializer_list<std::string_view> known) {
  Json extra = Json::object();
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(known, key) == known.end()) extra[key] = value;
  }
  return extra;
}

void Append(Json& json, const Json& extra) {
  if (!extra.is_object()) return;
  for (const auto& [key, value] : extra.items()) json[key] = value;
}

Json PlatformToJson(const Platform& platform, const Json& extra) {
  Json json = {{"architecture", platform.architecture}, {"os", platform.os}};
  if (!platform.variant.empty()) json["variant"] = platform.variant;
  Append(json, extra);
  return json;
}

Result<std::vector<Descriptor>> DescriptorsMember(const Json& object, const std::string& key) {
  LAYERFS_TRY(array, JsonOptionalArray(object, key));
  if (array == nullptr) return Refuse("JSON member \"" + key + "\": missing");
  std::vector<Descriptor> descriptors;
  descriptors.reserve(array->size());
  for (const Json& element : *array) {
    LAYERFS_TRY_IN(descriptor, Descriptor::FromJson(element),
                   key + "[" + std::to_string(descriptors.size()) + "]");
    descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

Result<std::optional<Descriptor>> SubjectMember(const Json& object) {
  LAYERFS_TRY(member, JsonOptionalObject(object, "subject"));
  if (member == nullptr) return std::nullopt;
  LAYERFS_TRY_IN(subject, Descriptor::FromJson(*member), "subject");
  return std::optional(std::move(subject));
}

// The document as an object, with what holds for manifests and indexes alike.
Result<Json> ParseDocument(ByteSpan raw) {
  LAYERFS_TRY(json, ParseJson(raw, kMaxManifestBytes));
  if (!json.is_object()) return Refuse("not a JSON object");
  const auto version = json.find("schemaVersion");
  const bool schema1 = (version != json.end() && *version == 1) || json.contains("fsLayers");
  if (schema1) {
    return Fail(
        ErrorCode::kUnsupported,
        "a Docker schema 1 manifest, which registries dropped in 2022; push the image again "
        "with a current tool (skopeo copy --format oci)");
  }
  if (version == json.end() || *version != 2) return Refuse("JSON member \"schemaVersion\": not 2");
  // CVE-2021-41190: a document that can be read as either is neither.
  if (json.contains("manifests") && (json.contains("layers") || json.contains("config"))) {
    return Refuse("both an image manifest and an image index");
  }
  return json;
}

Bytes ToBytes(const Json& json) {
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return {text.begin(), text.end()};
}

void AppendCommon(Json& json, const std::optional<Descriptor>& subject,
                  const std::map<std::string, std::string>& annotations, const Json& extra) {
  if (subject) json["subject"] = subject->ToJson();
  if (!annotations.empty()) json["annotations"] = annotations;
  Append(json, extra);
}

}  // namespace

bool media_type::IsIndex(std::string_view type) { return type == kOciIndex || type == kDockerList; }
bool media_type::IsManifest(std::string_view type) {
  return type == kOciManifest || type == kDockerManifest;
}
bool media_type::IsLayer(std::string_view type) {
  constexpr std::string_view kLayers[] = {
      kOciLayerTar,
      kOciLayerGzip,
      kOciLayerZstd,
      kDockerLayerGzip,
      kDockerLayerTar,
      "application/vnd.docker.image.rootfs.diff.tar.zstd",
      "application/vnd.docker.image.rootfs.foreign.diff.tar",
      "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      "application/vnd.oci.image.layer.nondistributable.v1.tar",
      "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
      "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"};
  return std::ranges::find(kLayers, type) != std::end(kLayers);
}

Result<Descriptor> Descriptor::FromJson(const Json& json) {
  if (!json.is_object()) return Refuse("a descriptor that is not a JSON object");
  Descriptor descriptor;
  LAYERFS_TRY(type, JsonString(json, "mediaType"));
  LAYERFS_TRY(digest, DigestMember(json, "digest"));
  LAYERFS_TRY(size, JsonUint(json, "size"));
  // Sizes and offsets are off_t somewhere down the road.
  if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Refuse("JSON member \"size\": beyond what a file can have");
  }
  LAYERFS_TRY(annotations, AnnotationsMember(json));
  LAYERFS_TRY(platform, PlatformMember(json));
  LAYERFS_TRY(artifact_type, JsonOptionalString(json, "artifactType"));
  LAYERFS_TRY(data, DataMember(json, digest, size));
  LAYERFS_TRY(urls, UrlsMember(json));
  descriptor.media_type = std::move(type);
  descriptor.digest = digest;
  descriptor.size = size;
  descriptor.annotations = std::move(annotations);
  descriptor.platform = std::move(platform);
  descriptor.artifact_type = std::move(artifact_type);
  descriptor.data = std::move(data);
  descriptor.urls = std::move(urls);
  descriptor.extra = Unknown(json, {"mediaType", "digest", "size", "annotations", "platform",
                                    "artifactType", "data", "urls"});
  if (descriptor.platform) {
    // os.version and the like stay with the platform.
    Json rest = Unknown(json["platform"], {"os", "architecture", "variant"});
    if (!rest.empty()) descriptor.extra["platform"] = std::move(rest);
  }
  return descriptor;
}

Json Descriptor::ToJson() const {
  Json json = {{"mediaType", media_type}, {"digest", digest.ToString()}, {"size", size}};
  if (!artifact_type.empty()) json["artifactType"] = artifact_type;
  if (!urls.empty()) json["urls"] = urls;
  if (!annotations.empty()) json["annotations"] = annotations;
  if (data) json["data"] = Base64Encode(*data);
  Append(json, extra);
  if (platform) {
    const Json rest = extra.is_object() ? extra.value("platform", Json::object()) : Json::object();
    json["platform"] = PlatformToJson(*platform, rest);
  } else {
    json.erase("platform");
  }
  return json;
}

Result<Manifest> Manifest::Parse(ByteSpan raw) {
  LAYERFS_TRY_IN(json, ParseDocument(raw), "image manifest");
  Manifest manifest;
  LAYERFS_TRY_IN(type, JsonOptionalString(json, "mediaType", media_type::kOciManifest),
                 "image manifest");
  if (!media_type::IsManifest(type)) {
    return Fail(ErrorCode::kUnsupported, "image manifest: its media type is \"" + type + "\"");
  }
  LAYERFS_TRY_IN(artifact_type, JsonOptionalString(json, "artifactType"), "image manifest");
  LAYERFS_TRY_IN(config, JsonOptionalObject(json, "config"), "image manifest");
  if (config == nullptr) return Refuse("image manifest: JSON member \"config\": missing");
  LAYERFS_TRY_IN(config_descriptor, Descriptor::FromJson(*config), "image manifest: config");
  LAYERFS_TRY_IN(layers, DescriptorsMember(json, "layers"), "image manifest");
  LAYERFS_TRY_IN(subject, SubjectMember(json), "image manifest");
  LAYERFS_TRY_IN(annotations, AnnotationsMember(json), "image manifest");
  manifest.media_type = std::move(type);
  manifest.artifact_type = std::move(artifact_type);
  manifest.config = std::move(config_descriptor);
  manifest.layers = std::move(layers);
  manifest.subject = std::move(subject);
  manifest.annotations = std::move(annotations);
  manifest.extra = Unknown(json, {"schemaVersion", "mediaType", "artifactType", "config", "layers",
                                  "subject", "annotations"});
  return manifest;
}

Bytes Manifest::Encode() const {
  Json json = {{"schemaVersion", 2}, {"mediaType", media_type}};
  if (!artifact_type.empty()) json["artifactType"] = artifact_type;
  json["config"] = config.ToJson();
  json["layers"] = Json::array();
  for (const Descriptor& layer : layers) json["layers"].push_back(layer.ToJson());
  AppendCommon(json, subject, annotations, extra);
  return ToBytes(json);
}

Result<ImageIndex> ImageIndex::Parse(ByteSpan raw) {
  LAYERFS_TRY_IN(json, ParseDocument(raw), "image index");
  ImageIndex index;
  LAYERFS_TRY_IN(type, JsonOptionalString(json, "mediaType", media_type::kOciIndex), "image index");
  if (!media_type::IsIndex(type)) {
    return Fail(ErrorCode::kUnsupported, "image index: its media type is \"" + type + "\"");
  }
  LAYERFS_TRY_IN(artifact_type, JsonOptionalString(json, "artifactType"), "image index");
  LAYERFS_TRY_IN(manifests, DescriptorsMember(json, "manifests"), "image index");
  LAYERFS_TRY_IN(subject, SubjectMember(json), "image index");
  LAYERFS_TRY_IN(annotations, AnnotationsMember(json), "image index");
  index.media_type = std::move(type);
  index.artifact_type = std::move(artifact_type);
  index.manifests = std::move(manifests);
  index.subject = std::move(subject);
  index.annotations = std::move(annotations);
  index.extra = Unknown(
      json, {"schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations"});
  return index;
}

Bytes ImageIndex::Encode() const {
  Json json = {{"schemaVersion", 2}, {"mediaType", media_type}};
  if (!artifact_type.empty()) json["artifactType"] = artifact_type;
  json["manifests"] = Json::array();
  for (const Descriptor& manifest : manifests) json["manifests"].push_back(manifest.ToJson());
  AppendCommon(json, subject, annotations, extra);
  return ToBytes(json);
}

Result<std::string> SniffMediaType(ByteSpan raw) {
  LAYERFS_TRY_IN(json, ParseDocument(raw), "manifest");
  LAYERFS_TRY_IN(type, JsonOptionalString(json, "mediaType"), "manifest");
  if (!type.empty()) return type;
  if (json.contains("manifests")) return std::string(media_type::kOciIndex);
  if (json.contains("layers")) return std::string(media_type::kOciManifest);
  return Refuse("manifest: neither layers nor manifests are in it");
}

Result<ImageConfig> ImageConfig::Parse(ByteSpan raw) {
  LAYERFS_TRY_IN(json, ParseJson(raw, kMaxManifestBytes), "image config");
  if (!json.is_object()) return Refuse("image config: not a JSON object");
  ImageConfig config;
  LAYERFS_TRY_IN(os, JsonOptionalString(json, "os"), "image config");
  LAYERFS_TRY_IN(architecture, JsonOptionalString(json, "architecture"), "image config");
  LAYERFS_TRY_IN(variant, JsonOptionalString(json, "variant"), "image config");
  if (os.empty() || architecture.empty()) {
    return Refuse(
        "image config: no platform (os and architecture) in it; set them where the image is built, "
        "or with umoci config --os linux --architecture amd64");
  }
  config.platform = {os, architecture, variant};
  LAYERFS_TRY_IN(rootfs, JsonOptionalObject(json, "rootfs"), "image config");
  if (rootfs == nullptr) return Refuse("image config: JSON member \"rootfs\": missing");
  LAYERFS_TRY_IN(diff_ids, JsonOptionalArray(*rootfs, "diff_ids"), "image config: rootfs");
  if (diff_ids != nullptr) {
    for (const Json& element : *diff_ids) {
      const std::string where =
          "image config: rootfs.diff_ids[" + std::to_string(config.diff_ids.size()) + "]";
      if (!element.is_string()) return Refuse(where + ": not a string");
      auto digest = Digest::Parse(element.get_ref<const std::string&>());
      if (!digest) return Fail(Corrupt(std::move(digest).error()).In(where));
      config.diff_ids.push_back(*digest);
    }
  }
  config.document = std::move(json);
  return config;
}

}  // namespace layerfs

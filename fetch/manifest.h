// SPDX-License-Identifier: Apache-2.0
// OCI and Docker schema 2 documents: descriptors, image manifests, image indexes (OCI image-spec
// descriptor.md, manifest.md, image-index.md). Parsing checks everything that is used later, and
// keeps everything that is not.
// Values; thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/json.h"

namespace layerfs {

namespace media_type {
inline constexpr char kOciIndex[] = "application/vnd.oci.image.index.v1+json";
inline constexpr char kOciManifest[] = "application/vnd.oci.image.manifest.v1+json";
inline constexpr char kOciConfig[] = "application/vnd.oci.image.config.v1+json";
inline constexpr char kOciLayerTar[] = "application/vnd.oci.image.layer.v1.tar";
inline constexpr char kOciLayerGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr char kOciLayerZstd[] = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr char kDockerList[] = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr char kDockerConfig[] = "application/vnd.docker.container.image.v1+json";
inline constexpr char kDockerLayerGzip[] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
inline constexpr char kDockerLayerTar[] = "application/vnd.docker.image.rootfs.diff.tar";
// Whether it is one of the layer types above or their nondistributable/foreign forms.
bool IsLayer(std::string_view type);
bool IsIndex(std::string_view type);     // OCI index or Docker list
bool IsManifest(std::string_view type);  // OCI or Docker schema 2 image manifest
}  // namespace media_type

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;  // may be empty
  // "linux/amd64", "linux/arm64/v8"; kInvalidArgument otherwise.
  static Result<Platform> Parse(std::string_view text);
  static Platform Host();
  std::string ToString() const;
  // An empty variant of `wanted` takes any; arm64 and arm64/v8 are one.
  bool Satisfies(const Platform& wanted) const;
  bool operator==(const Platform&) const = default;
};

struct Descriptor {
  std::string media_type;
  Digest digest;
  uint64_t size = 0;
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
  std::string artifact_type;
  std::optional<Bytes> data;      // the embedded content, decoded and verified against digest
  std::vector<std::string> urls;  // of nondistributable layers
  Json extra;                     // members that we do not know, kept for rewriting

  static Result<Descriptor> FromJson(const Json& json);
  Json ToJson() const;
};

struct Manifest {
  std::string media_type;
  std::string artifact_type;
  Descriptor config;
  std::vector<Descriptor> layers;
  std::optional<Descriptor> subject;
  std::map<std::string, std::string> annotations;
  Json extra;

  // kCorrupt with the JSON path; kTooLarge over 4 MiB; Docker schema 1 is kUnsupported by name.
  static Result<Manifest> Parse(ByteSpan raw);
  Bytes Encode() const;  // deterministic
};

struct ImageIndex {
  std::string media_type;
  std::string artifact_type;
  std::vector<Descriptor> manifests;
  std::optional<Descriptor> subject;
  std::map<std::string, std::string> annotations;
  Json extra;

  static Result<ImageIndex> Parse(ByteSpan raw);
  Bytes Encode() const;
};

// The mediaType member, or what the shape tells where it is missing (OCI allows that).
Result<std::string> SniffMediaType(ByteSpan raw);

// The image's config: what conversion checks and `layerfs run` needs.
struct ImageConfig {
  Platform platform;  // os and architecture are required
  std::vector<Digest> diff_ids;
  Json document;  // all of it

  static Result<ImageConfig> Parse(ByteSpan raw);
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// ImageReference: which image, in skopeo's transport notation (containers-transports(5)).
// A value.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "index/base/digest.h"
#include "index/base/error.h"

namespace layerfs {

// Which host serves a registry: for "docker.io", not the one that its name says
// (distribution/reference).
std::string ServerOfRegistry(const std::string& registry);

enum class ImageTransport { kRegistry, kOciLayout, kDockerArchive };

struct ImageReference {
  ImageTransport transport = ImageTransport::kRegistry;
  // kRegistry.
  std::string registry;    // "127.0.0.1:5000", "docker.io", "[::1]:5000"
  std::string repository;  // "library/debian"
  // A registry or layout tag, or a docker-archive's "name:tag" or "@N" (its N-th image). Empty in a
  // layout or archive: its only image. A registry reference without tag and digest gets "latest".
  std::string tag;
  std::optional<Digest> digest;  // "@sha256:…": pins the manifest
  // kOciLayout: the directory; kDockerArchive: the file.
  std::string path;

  // "docker://HOST[:PORT]/REPO[:TAG][@DIGEST]", "oci:DIR[:TAG][@DIGEST]",
  // "docker-archive:FILE[:NAME:TAG|:@N]". A word without a transport is a registry reference as
  // docker takes it: "debian:12" is docker.io/library/debian:12. Errors are kInvalidArgument and
  // show the forms.
  static Result<ImageReference> Parse(std::string_view text);

  std::string ToString() const;  // with the transport; parses to the same value
  // Whether the registry is on a loopback address, where plain http is the default.
  bool is_loopback() const;
  bool operator==(const ImageReference&) const = default;
};

}  // namespace layerfs

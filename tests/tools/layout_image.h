// SPDX-License-Identifier: Apache-2.0
// For tests of the converter: images made of tars, put into an OCI layout.
// One thread at a time.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "fetch/manifest.h"
#include "fetch/oci_layout.h"
#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/json.h"
#include "tests/index/base/gzip_writer.h"

namespace layerfs {

inline Bytes TextBytes(std::string_view text) { return {text.begin(), text.end()}; }

inline Bytes Gzipped(const Bytes& bytes) {
  return TextBytes(WriteGzip({.content = std::string(bytes.begin(), bytes.end())}));
}

class LayoutImage {
 public:
  explicit LayoutImage(const std::string& directory) : layout_(directory) {
    EXPECT_TRUE(layout_.Create().has_value());
  }

  const OciLayout& layout() const { return layout_; }

  Descriptor AddBlob(const std::string& type, const Bytes& bytes) const {
    Descriptor descriptor;
    descriptor.media_type = type;
    descriptor.digest = Digest::Of(bytes);
    descriptor.size = bytes.size();
    EXPECT_TRUE(layout_.WriteBlobBytes(descriptor.digest, bytes).has_value());
    return descriptor;
  }

  struct Layer {
    Bytes tar;
    std::string media_type = media_type::kOciLayerGzip;
    std::map<std::string, std::string> annotations = {};
    std::vector<std::string> urls = {};
  };
  Descriptor AddLayer(const Layer& layer) const {
    const bool is_gzip = layer.media_type.ends_with("gzip");
    Descriptor descriptor = AddBlob(layer.media_type, is_gzip ? Gzipped(layer.tar) : layer.tar);
    descriptor.annotations = layer.annotations;
    descriptor.urls = layer.urls;
    return descriptor;
  }

  struct Image {
    std::vector<Layer> layers;
    std::string architecture = "amd64";
    bool docker = false;
    std::map<std::string, std::string> annotations = {};
    std::vector<Digest> diff_ids = {};  // empty: the right ones
  };
  static Bytes Config(const Image& image) {
    Json config;
    config["architecture"] = image.architecture;
    config["os"] = "linux";
    config["config"]["Cmd"] = {"/bin/sh"};
    Json diff_ids = Json::array();
    for (const Layer& layer : image.layers) diff_ids.push_back(Digest::Of(layer.tar).ToString());
    if (!image.diff_ids.empty()) {
      diff_ids = Json::array();
      for (const Digest& diff_id : image.diff_ids) diff_ids.push_back(diff_id.ToString());
    }
    config["rootfs"] = {{"type", "layers"}, {"diff_ids", diff_ids}};
    // Spaces and order that no encoder of ours would write.
    return TextBytes(" " + config.dump(3) + "\n");
  }
  Descriptor AddImage(const Image& image) const {
    Manifest manifest;
    manifest.media_type = image.docker ? media_type::kDockerManifest : media_type::kOciManifest;
    manifest.config =
        AddBlob(image.docker ? media_type::kDockerConfig : media_type::kOciConfig, Config(image));
    for (const Layer& layer : image.layers) manifest.layers.push_back(AddLayer(layer));
    manifest.annotations = image.annotations;
    Descriptor descriptor = AddBlob(manifest.media_type, manifest.Encode());
    descriptor.platform = Platform{"linux", image.architecture, ""};
    return descriptor;
  }
  Descriptor AddIndex(std::vector<Descriptor> manifests, bool docker = false) const {
    ImageIndex index;
    index.media_type = docker ? media_type::kDockerList : media_type::kOciIndex;
    index.manifests = std::move(manifests);
    return AddBlob(index.media_type, index.Encode());
  }
  void Tag(const std::string& tag, Descriptor descriptor) const {
    descriptor.platform.reset();
    EXPECT_TRUE(layout_.SetTag(tag, std::move(descriptor)).has_value());
  }

 private:
  OciLayout layout_;
};

}  // namespace layerfs

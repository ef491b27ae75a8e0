// SPDX-License-Identifier: Apache-2.0
// For tests of the converter: a layout to convert from, and what is looked at where it was
// converted to. One thread at a time.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <string>

#include "fetch/reference.h"
#include "tests/fetch/temp_dir.h"
#include "tests/index/tar_writer.h"
#include "tests/tools/converted_layer.h"
#include "tests/tools/counting_progress.h"
#include "tests/tools/layout_image.h"
#include "tools/convert/convert_image.h"

namespace layerfs {

inline Bytes SmallTar(const std::string& name, size_t size = 3000) {
  return TarWriter().Directory("d").File("d/" + name, Pattern(size, name.size())).Finish();
}

class ConvertImageTest : public testing::Test {
 protected:
  ConvertImageTest() : source_(directory_ / "source"), stores_(StoreOptions()) {}

  ConvertOptions Options(const std::string& destination = "out") const {
    ConvertOptions options;
    options.source = *ImageReference::Parse("oci:" + (directory_ / "source") + ":latest");
    options.destination = Destination(destination);
    options.policy = SmallPolicy();
    options.threads = 2;
    return options;
  }
  ImageReference Destination(const std::string& name, const std::string& tag = "new") const {
    return *ImageReference::Parse("oci:" + (directory_ / name) + ":" + tag);
  }

  Result<ConvertReport> Convert(const ConvertOptions& options) {
    return ConvertImage(options, stores_, progress_);
  }
  ConvertReport MustConvert(const ConvertOptions& options) {
    progress_.Reset();
    Result<ConvertReport> report = Convert(options);
    EXPECT_TRUE(report.has_value()) << report.error().context;
    return report.value_or(ConvertReport());
  }

  RawDocument ReadRoot(const std::string& name = "out") {
    auto reader = stores_.OpenReader(Destination(name));
    auto root = (*reader)->ReadRoot();
    EXPECT_TRUE(root.has_value()) << root.error().context;
    return root.value_or(RawDocument());
  }
  Manifest ReadManifest(const std::string& name = "out") {
    auto manifest = Manifest::Parse(ReadRoot(name).raw);
    EXPECT_TRUE(manifest.has_value());
    return manifest.value_or(Manifest());
  }
  Bytes ReadBlob(const Descriptor& descriptor, const std::string& name = "out") {
    auto raw = ReadFile(OciLayout(directory_ / name).BlobPath(descriptor.digest), 1 << 30);
    EXPECT_TRUE(raw.has_value()) << descriptor.digest.ToString();
    return raw.value_or(Bytes());
  }
  // Nothing is left at a destination that was made for a conversion which failed.
  void ExpectNothing(const std::string& name) {
    EXPECT_FALSE(std::filesystem::exists(directory_ / name));
  }
  size_t CountBlobs(const std::string& name) {
    const std::filesystem::directory_iterator blobs(directory_ / (name + "/blobs/sha256"));
    return static_cast<size_t>(std::distance(begin(blobs), end(blobs)));
  }

  TempDir directory_;
  LayoutImage source_;
  ImageStores stores_;
  CountingProgress progress_;
};

}  // namespace layerfs

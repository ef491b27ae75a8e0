// SPDX-License-Identifier: Apache-2.0
// The options that say which image of a reference is meant, and what the commands that read an
// image without mounting it share.
// One thread at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "fs/file_reader.h"
#include "fs/image.h"
#include "tools/services.h"

namespace layerfs {

struct ImageOptionWords {
  std::string platform;
  void Declare(CLI::App& app);
  Result<ImageOptions> Get(std::chrono::milliseconds timeout) const;
};

// IMAGE and everything that it takes to open it.
class ImageArgument {
 public:
  void Declare(CLI::App& app);
  // As ImageOptions::startup; before anything is opened.
  void SetStartup(bool startup) { startup_ = startup; }
  // In the place of the user's cache; before anything is opened.
  void SetCache(const std::string& directory) { options_.cache_directory = directory; }
  // The image, loaded; once.
  Result<std::shared_ptr<Image>> Open();
  Result<FileReader*> Reader();  // after Open
  Services& services() { return services_; }
  const std::string& word() const { return word_; }
  Result<ImageReference> Reference() const { return ImageReference::Parse(word_); }
  Result<ImageOptions> LoadOptions();
  Result<ImageContext> Context();

 private:
  std::string word_;
  bool startup_ = true;
  ImageOptionWords image_options_;
  ServiceOptions options_;
  Services services_{options_};
  std::shared_ptr<Image> image_;
  std::unique_ptr<FileReader> reader_;
};

}  // namespace layerfs

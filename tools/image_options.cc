// SPDX-License-Identifier: Apache-2.0
#include "tools/image_options.h"

namespace layerfs {

void ImageOptionWords::Declare(CLI::App& app) {
  app.add_option("--platform", platform, "Which image of an image index; the host's by default")
      ->type_name("OS/ARCH[/VARIANT]");
}

Result<ImageOptions> ImageOptionWords::Get(std::chrono::milliseconds timeout) const {
  ImageOptions options;
  options.timeout = timeout;
  if (!platform.empty()) {
    LAYERFS_TRY_IN(parsed, Platform::Parse(platform), "--platform");
    options.platform = parsed;
  }
  return options;
}

void ImageArgument::Declare(CLI::App& app) {
  app.add_option("IMAGE", word_, "The image")->required();
  image_options_.Declare(app);
  options_.DeclareCache(app);
  options_.DeclareRegistry(app);
  options_.DeclareOffline(app);
}

Result<ImageContext> ImageArgument::Context() {
  LAYERFS_TRY(cache, services_.Cache());
  LAYERFS_TRY(stores, services_.Stores());
  LAYERFS_TRY(scheduler, services_.Fetcher());
  return ImageContext{*stores, *scheduler, cache};
}

Result<ImageOptions> ImageArgument::LoadOptions() {
  LAYERFS_TRY(timeout, services_.FetchTimeout());
  LAYERFS_TRY(load, image_options_.Get(timeout));
  load.offline = options_.offline;
  load.startup = startup_;
  return load;
}

Result<std::shared_ptr<Image>> ImageArgument::Open() {
  LAYERFS_TRY(reference, Reference());
  LAYERFS_TRY(context, Context());
  LAYERFS_TRY(options, LoadOptions());
  LAYERFS_TRY(image, Image::Load(reference, context, options));
  image_ = image;
  return image;
}

Result<FileReader*> ImageArgument::Reader() {
  LAYERFS_TRY(context, Context());
  LAYERFS_TRY(timeout, services_.FetchTimeout());
  reader_ = std::make_unique<FileReader>(image_, context, FileReader::Options{timeout});
  return reader_.get();
}

}  // namespace layerfs

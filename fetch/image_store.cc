// SPDX-License-Identifier: Apache-2.0
#include "fetch/image_store.h"

#include "fetch/layout_store.h"

namespace layerfs {

struct ImageStores::Impl {
  StoreOptions options;
};

ImageStores::ImageStores(StoreOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
ImageStores::~ImageStores() = default;

Result<std::shared_ptr<ImageReader>> ImageStores::OpenReader(const ImageReference& reference) {
  switch (reference.transport) {
    case ImageTransport::kOciLayout:
      return MakeLayoutReader(reference);
    case ImageTransport::kRegistry:
    case ImageTransport::kDockerArchive:
      break;
  }
  return Fail(ErrorCode::kUnsupported, reference.ToString() + ": cannot be read");
}

Result<std::shared_ptr<ImageWriter>> ImageStores::OpenWriter(const ImageReference& reference) {
  switch (reference.transport) {
    case ImageTransport::kOciLayout:
      return MakeLayoutWriter(reference);
    case ImageTransport::kRegistry:
    case ImageTransport::kDockerArchive:
      break;
  }
  return Fail(ErrorCode::kUnsupported, reference.ToString() + ": cannot be written");
}

}  // namespace layerfs

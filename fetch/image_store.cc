// SPDX-License-Identifier: Apache-2.0
#include "fetch/image_store.h"

#include "fetch/docker_archive.h"
#include "fetch/layout_store.h"
#include "fetch/offline_store.h"
#include "fetch/registry_store.h"
#include "index/base/synchronized.h"

namespace layerfs {

struct ImageStores::Impl {
  explicit Impl(StoreOptions o) : options(std::move(o)) {}
  ~Impl() {
    if (auto context = registries.With([](auto& c) { return c; })) context->Shutdown();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Made when the first registry is named: reading layouts takes no network and no certificates.
  Result<std::shared_ptr<RegistryContext>> Registries() {
    return registries.With([&](auto& context) -> Result<std::shared_ptr<RegistryContext>> {
      if (context == nullptr) {
        LAYERFS_TRY(made, RegistryContext::Create(options));
        context = std::move(made);
      }
      return context;
    });
  }

  const StoreOptions options;
  Synchronized<std::shared_ptr<RegistryContext>> registries;
};

ImageStores::ImageStores(StoreOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
ImageStores::~ImageStores() = default;

Result<std::shared_ptr<ImageReader>> ImageStores::OpenReader(const ImageReference& reference) {
  switch (reference.transport) {
    case ImageTransport::kRegistry: {
      if (impl_->options.offline) return MakeOfflineReader(reference);
      LAYERFS_TRY(context, impl_->Registries());
      return MakeRegistryReader(std::move(context), reference);
    }
    case ImageTransport::kOciLayout:
      return MakeLayoutReader(reference);
    case ImageTransport::kDockerArchive:
      return OpenDockerArchive(reference);
  }
  return Fail(ErrorCode::kUnsupported, reference.ToString() + ": no such transport");
}

Result<std::shared_ptr<ImageWriter>> ImageStores::OpenWriter(const ImageReference& reference) {
  switch (reference.transport) {
    case ImageTransport::kRegistry: {
      LAYERFS_TRY(context, impl_->Registries());
      return MakeRegistryWriter(context, reference);
    }
    case ImageTransport::kOciLayout:
      return MakeLayoutWriter(reference);
    case ImageTransport::kDockerArchive:
      break;
  }
  return Fail(ErrorCode::kUnsupported, reference.ToString() +
                                           ": docker archives are read only; write to an OCI "
                                           "layout (oci:DIRECTORY:TAG)");
}

}  // namespace layerfs

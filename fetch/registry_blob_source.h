// SPDX-License-Identifier: Apache-2.0
// RegistryBlobSource: ranges of a registry repository's blobs, one HTTP request each (and what
// tokens and redirects take).
// Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "fetch/blob_source.h"
#include "fetch/registry_context.h"

namespace layerfs {

class RegistryBlobSource : public BlobSource {
 public:
  RegistryBlobSource(std::shared_ptr<RegistryContext> context, RegistryHost& host,
                     std::string repository)
      : context_(std::move(context)), host_(host), repository_(std::move(repository)) {}

  TransferId Start(const BlobRange& range, FetchClass fetch_class, BlobSink sink) override;
  void Cancel(TransferId transfer) override { host_.Cancel(transfer); }
  std::string name() const override { return host_.registry() + "/" + repository_; }

 private:
  const std::shared_ptr<RegistryContext> context_;  // keeps the host
  RegistryHost& host_;
  const std::string repository_;
};

}  // namespace layerfs

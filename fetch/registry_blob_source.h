// SPDX-License-Identifier: Apache-2.0
// RegistryBlobSource: ranges of a registry repository's blobs, one HTTP request
// each (and what tokens and redirects take), from the registry or a mirror of
// it. A mirror that fails before the first byte is stepped over at once; one
// that fails later is remembered, and the next range goes elsewhere. So does a
// range that is asked for again while its first request has not been answered.
// A blob whose server answers a range with all of it comes once, for all ranges.
// Thread-safe.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "fetch/blob_source.h"
#include "fetch/registry_context.h"
#include "fetch/registry_members.h"
#include "index/base/synchronized.h"

namespace layerfs {

class RegistryBlobSource : public BlobSource {
 public:
  // `name`: of the registry and repository that the user named.
  RegistryBlobSource(std::shared_ptr<RegistryContext> context,
                     std::shared_ptr<RegistryMembers> members, std::string name);
  ~RegistryBlobSource() override;

  TransferId Start(const BlobRange& range, FetchClass fetch_class, BlobSink sink) override;
  void Cancel(TransferId transfer) override;
  void Distrust(const BlobRange& range) override;
  std::string name() const override { return name_; }

 private:
  struct Shared;
  class RangeTransfer;
  const std::shared_ptr<RegistryContext> context_;  // keeps the hosts
  const std::string name_;
  const std::shared_ptr<Shared> shared_;  // with the transfers, which may outlive the source
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// Uploads of blobs to a registry's repository (distribution-spec, "Pushing Blobs"): in one PUT, or
// in PATCHed chunks where the registry, or a proxy before it, does not take that.
// Thread-safe; blocks, with retries.
#pragma once

#include <functional>
#include <string>

#include "fetch/registry_client.h"

namespace layerfs {

// Whether the registry lets us write to the client's repository: begins an upload and drops it.
Status CheckUpload(RegistryClient& client);

// The blob is [0, size) of the file `fd`.
Status UploadBlob(RegistryClient& client, const Digest& digest, uint64_t size, int fd,
                  const std::function<void(uint64_t)>& on_progress);

// Whether the registry now has the blob in the client's repository because it had it in
// `from_repository`.
Result<bool> MountBlob(RegistryClient& client, const Digest& digest,
                       const std::string& from_repository);

}  // namespace layerfs

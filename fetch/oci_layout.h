// SPDX-License-Identifier: Apache-2.0
// OciLayout: a directory in the OCI image layout (image-spec image-layout.md), read and written.
// Thread-safe and process-safe.
//
// Invariants:
//   1. A blob appears under its name by rename, whole and synced.
//   2. index.json is replaced by rename, under a lock on the file oci-layout that every layerfs
//      writer takes, so that concurrent writers lose nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "fetch/manifest.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class OciLayout {
 public:
  explicit OciLayout(std::string directory) : directory_(std::move(directory)) {}

  const std::string& directory() const { return directory_; }
  std::string BlobPath(const Digest& digest) const;

  // kNotFound where there is no layout, kUnsupported for a version that we do not know.
  Result<ImageIndex> ReadIndex() const;
  // The entry of index.json that `tag` names, or the only one for an empty tag. The error lists
  // what there is.
  Result<Descriptor> FindTag(const std::string& tag) const;

  Result<UniqueFd> OpenBlob(const Digest& digest, uint64_t size) const;
  bool HasBlob(const Digest& digest, uint64_t size) const;

  // Makes the directory a layout where it is none.
  Status Create() const;
  // Unlinks the temporary files of layerfs writers that are gone. Nobody may be writing blobs.
  void RemoveLeftovers() const;
  // An error of `on_progress` ends it, and nothing is left.
  Status WriteBlob(const Digest& digest, uint64_t size, int fd,
                   const std::function<Status(uint64_t)>& on_progress) const;
  Status WriteBlobBytes(const Digest& digest, ByteSpan bytes) const;
  // Makes `tag` name the descriptor; other entries stay as they are. An empty tag adds an untagged
  // entry.
  Status SetTag(const std::string& tag, Descriptor descriptor) const;

 private:
  Result<UniqueFd> Lock() const;

  std::string directory_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// SpoolFile: where a blob waits on the local disk while its digest and size are not known yet. It
// has no name, so nothing is left behind, whatever happens.
// One thread at a time.
#pragma once

#include <string>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class SpoolFile {
 public:
  // Empty: $TMPDIR, else /var/tmp (/tmp may be in memory, and layers are large).
  static Result<SpoolFile> Open(const std::string& directory);

  Status Append(ByteSpan bytes);
  uint64_t size() const { return size_; }
  int fd() const { return fd_.get(); }
  // Of all bytes; nothing is appended after it.
  Digest Finish() { return hash_.Finish(); }

 private:
  SpoolFile(UniqueFd fd, std::string directory);

  UniqueFd fd_;
  std::string directory_;  // for errors
  Sha256 hash_;
  uint64_t size_ = 0;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/convert/spool_file.h"

#include <utility>

namespace layerfs {

SpoolFile::SpoolFile(UniqueFd fd, std::string directory)
    : fd_(std::move(fd)), directory_(std::move(directory)) {}

Result<SpoolFile> SpoolFile::Open(const std::string& directory) {
  std::string where = directory.empty() ? SpoolDirectory() : directory;
  LAYERFS_TRY_IN(file, OpenUnnamedFile(where), "spool directory");
  return SpoolFile(std::move(file), std::move(where));
}

Status SpoolFile::Append(ByteSpan bytes) {
  LAYERFS_CHECK_OK_IN(WriteFullAt(fd_.get(), size_, bytes), "spool file in " + directory_);
  hash_.Update(bytes);
  size_ += bytes.size();
  return {};
}

}  // namespace layerfs

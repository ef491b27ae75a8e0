// SPDX-License-Identifier: Apache-2.0
#include "tools/startup/scratch_directory.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace layerfs {

Result<ScratchDirectory> ScratchDirectory::Make(const std::string& prefix) {
  std::string path = "/tmp/" + prefix + ".XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return FailErrno(path, errno);
  return ScratchDirectory(path);
}

ScratchDirectory::~ScratchDirectory() {
  if (path_.empty()) return;
  std::error_code error;
  // Never across a mount that is still there: its root would be busy, and its content is not ours.
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    if (!entry.is_directory(error)) std::filesystem::remove(entry.path(), error);
    if (entry.is_directory(error)) ::rmdir(entry.path().c_str());
  }
  ::rmdir(path_.c_str());
}

}  // namespace layerfs

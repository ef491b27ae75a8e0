// SPDX-License-Identifier: Apache-2.0
#include "tools/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "index/base/file.h"

namespace layerfs {

Status WriteOutputFile(const std::string& path, ByteSpan data) {
  struct stat there{};
  if (::lstat(path.c_str(), &there) != 0) return WriteFileAtomically(path, data);
  std::error_code dangling;
  const std::filesystem::path target = std::filesystem::canonical(path, dangling);
  const bool is_regular = !dangling && ::stat(path.c_str(), &there) == 0 && S_ISREG(there.st_mode);
  if (is_regular) return WriteFileAtomically(target, data, {.mode = there.st_mode & 07777});
  LAYERFS_TRY(fd, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0666));
  return WriteFull(fd.get(), data);
}

Status CheckOutputFile(const std::string& path) {
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  if (directory.empty() || std::filesystem::is_directory(directory, ignored)) return {};
  return Fail(ErrorCode::kNotFound, path + ": no such directory");
}

}  // namespace layerfs

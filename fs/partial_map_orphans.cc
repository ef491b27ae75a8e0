// SPDX-License-Identifier: Apache-2.0
// PartialMaps::RemoveOrphans: maps that a crash left without their upper file.
#include <fcntl.h>

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "fs/partial_map.h"
#include "index/base/directory_stream.h"

namespace layerfs {
namespace {

Result<DirectoryStream> OpenDirectoryAt(int parent, const std::string& name) {
  LAYERFS_TRY(fd, OpenFileAt(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  DirectoryStream directory = MakeDirectoryStream(std::move(fd));
  if (directory == nullptr) return FailErrno(name, errno);
  return directory;
}

bool IsDot(const dirent& entry) {
  const std::string_view name = entry.d_name;
  return name == "." || name == "..";
}

}  // namespace

Status PartialMaps::RemoveOrphans(int upper_directory_fd) {
  std::set<std::string> unnamed;
  LAYERFS_TRY(maps, OpenDirectoryAt(directory_->get(), "."));
  while (const dirent* const entry = readdir(maps.get())) {
    if (!IsDot(*entry)) unnamed.insert(entry->d_name);
  }
  if (unnamed.empty()) return {};
  LAYERFS_TRY(upper, OpenDirectoryAt(upper_directory_fd, "."));
  // As deep as the tree: a path has at most PATH_MAX bytes when it is made by name.
  std::vector<DirectoryStream> walk;
  walk.push_back(std::move(upper));
  while (!walk.empty()) {
    const dirent* const entry = readdir(walk.back().get());
    if (entry == nullptr) {
      walk.pop_back();
    } else if (entry->d_type == DT_DIR && !IsDot(*entry)) {
      LAYERFS_TRY(below, OpenDirectoryAt(dirfd(walk.back().get()), entry->d_name));
      walk.push_back(std::move(below));
    } else if (entry->d_type == DT_REG) {
      LAYERFS_TRY(file, OpenFileAt(dirfd(walk.back().get()), entry->d_name,
                                   O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
      const Result<std::string> id = IdOf(file.get());
      if (id.has_value()) unnamed.erase(*id);
    }
  }
  for (const std::string& name : unnamed) {
    if (const Status removed = Remove(name); !removed.has_value()) return removed;
  }
  return {};
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "fs/mount_table.h"

#include <mntent.h>

#include <climits>
#include <cstdio>
#include <memory>

namespace layerfs {

std::string MountedType(const std::string& path, pid_t process) {
  struct Close {
    void operator()(FILE* file) const { ::endmntent(file); }
  };
  const std::string name = process == 0 ? "self" : std::to_string(process);
  const std::unique_ptr<FILE, Close> table(
      ::setmntent(("/proc/" + name + "/mounts").c_str(), "re"));
  std::string type;
  if (table == nullptr) return type;
  mntent entry{};
  char buffer[3 * PATH_MAX];
  while (::getmntent_r(table.get(), &entry, buffer, sizeof buffer) != nullptr) {
    if (path == entry.mnt_dir) type = entry.mnt_type;
  }
  return type;
}

}  // namespace layerfs

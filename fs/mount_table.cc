// SPDX-License-Identifier: Apache-2.0
#include "fs/mount_table.h"

#include <mntent.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
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

Result<std::string> CanonicalMountPoint(const std::string& mount_point) {
  std::string path = mount_point;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(parent.c_str(), nullptr),
                                                             &std::free);
  if (resolved == nullptr) return FailErrno(mount_point, errno);
  if (name.empty() || name == "." || name == "..") {
    const std::unique_ptr<char, decltype(&std::free)> whole(::realpath(path.c_str(), nullptr),
                                                            &std::free);
    if (whole == nullptr) return FailErrno(mount_point, errno);
    return std::string(whole.get());
  }
  const std::string directory = resolved.get();
  return directory == "/" ? directory + name : directory + "/" + name;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/state_option.h"

#include <filesystem>
#include <system_error>

#include "tools/run/container_store.h"

namespace layerfs {

void DeclareState(CLI::App& app, std::string& directory) {
  app.add_option("--state", directory, "Where containers and volumes are kept")
      ->type_name("DIR")
      ->envname("LAYERFS_STATE");
}

std::string StateDirectory(const std::string& given) {
  return given.empty() ? DefaultStateDirectory() : given;
}

Result<std::string> AbsolutePath(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) return FailErrno(path, error.value());
  return absolute.lexically_normal().string();
}

Result<std::string> OwnProgram() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return FailErrno("/proc/self/exe", error.value());
  return program.string();
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
#include "tools/state_option.h"

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "tools/run/container_store.h"
#include "tools/text.h"

namespace layerfs {

void DeclareState(CLI::App& app, std::string& directory) {
  app.add_option("--state", directory, "Where containers and volumes are kept")
      ->type_name("DIR")
      ->envname("LAYERFS_STATE");
}

std::string StateDirectory(const std::string& given) {
  return given.empty() ? DefaultStateDirectory() : given;
}

ExitStatus ForEachContainer(const std::vector<std::string>& names, const std::string& title,
                            CommandIo& io,
                            const std::function<Result<bool>(const std::string&)>& act) {
  ExitStatus status = ExitStatus::kSuccess;
  for (const std::string& name : names) {
    const Result<bool> done = act(name);
    if (!done.has_value()) {
      std::fprintf(io.err, "%s: %s\n", title.c_str(), EscapeMessage(done.error().context).c_str());
      status = ExitStatusOf(done.error().code);
    } else if (*done) {
      std::fprintf(io.out, "%s\n", name.c_str());
    }
  }
  return status;
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

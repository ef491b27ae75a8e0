// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/resident_files.h"

#include <sys/mman.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>

namespace layerfs {

Status ResidentFiles::Add(const std::string& path) {
  LAYERFS_TRY(file, MappedFile::Open(path));
  const ByteSpan bytes = file.bytes();
  if (bytes.empty()) return {};
  if (::madvise(const_cast<uint8_t*>(bytes.data()), bytes.size(), MADV_POPULATE_READ) != 0) {
    return FailErrno(path + ": madvise", errno);
  }
  files_.push_back(std::move(file));
  return {};
}

Status ResidentFiles::AddTree(const std::string& directory) {
  std::error_code error;
  std::filesystem::recursive_directory_iterator entries(directory, error);
  for (; !error && entries != std::filesystem::recursive_directory_iterator();
       entries.increment(error)) {
    if (entries->is_regular_file(error)) LAYERFS_CHECK_OK(Add(entries->path()));
  }
  if (error) return Fail(ErrorCode::kIo, directory + ": " + error.message());
  return {};
}

// /proc/PID/maps (proc(5)): the sixth word of a line is the path, if it is a file.
Status ResidentFiles::AddOwnProgram() {
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> paths;
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');
    if (path != std::string::npos && line.contains("r-xp")) paths.insert(line.substr(path));
  }
  for (const std::string& path : paths) LAYERFS_CHECK_OK(Add(path));
  return {};
}

}  // namespace layerfs

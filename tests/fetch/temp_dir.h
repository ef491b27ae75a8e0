// SPDX-License-Identifier: Apache-2.0
// A directory for one test, gone with it; files in it.
#pragma once

#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "index/base/file.h"

namespace layerfs {

class TempDir {
 public:
  TempDir() {
    std::string pattern = testing_root() + "/layerfs-test-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  // Writes a file of the directory and returns its path.
  std::string Write(std::string_view name, std::string_view content) const {
    const std::string file = *this / name;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }
  static std::string Read(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

 private:
  static std::string testing_root() { return std::filesystem::temp_directory_path().string(); }
  std::string path_;
};

// Bytes that do not repeat, so that a wrong offset shows.
inline std::string Pattern(size_t size, uint32_t seed = 1) {
  std::string text(size, '\0');
  uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

}  // namespace layerfs

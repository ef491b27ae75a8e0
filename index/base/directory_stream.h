// SPDX-License-Identifier: Apache-2.0
// DirectoryStream: a directory that is read with readdir(3).
// One thread at a time.
#pragma once

#include <dirent.h>

#include <memory>

#include "index/base/file.h"

namespace layerfs {

struct CloseDirectory {
  void operator()(DIR* stream) const { ::closedir(stream); }
};
using DirectoryStream = std::unique_ptr<DIR, CloseDirectory>;

// Null, with errno, where the descriptor is none of a directory.
inline DirectoryStream MakeDirectoryStream(UniqueFd directory) {
  DirectoryStream stream(::fdopendir(directory.get()));
  if (stream != nullptr) static_cast<void>(directory.Release());
  return stream;
}

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// FileRead: one read of a LayerFile: what the lower file shows is fetched first, the rest comes
// from the upper file then. Of LayerFile's own. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "fs/layer_file_state.h"
#include "fs/lower_fetch.h"

namespace layerfs {

class FileRead : public std::enable_shared_from_this<FileRead> {
 public:
  FileRead(std::shared_ptr<LayerFile::State> file, LayerFile::Token token, uint64_t offset,
           LayerFile::ReadDone done);
  void Run(size_t size);

 private:
  void Fetch(const std::vector<ByteRange>& lower);
  Result<ByteSpan> Assemble();
  void Answer(Result<ByteSpan> result);

  const std::shared_ptr<LayerFile::State> file_;
  const LayerFile::Token token_;
  const uint64_t offset_;
  Bytes buffer_;
  LayerFile::ReadDone done_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// PackPageReader: what the layers have for the pages of a startup pack, in the pack's order, piece
// by piece. While its taker is busy with one piece, the next is being read.
// One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fs/file_reader.h"
#include "index/base/error.h"
#include "index/base/large_buffer.h"
#include "index/pack.h"

namespace layerfs {

class PackPageReader {
 public:
  // The first `total` bytes, whole pages, of what the runs have; `reader` and `runs` outlive it.
  PackPageReader(FileReader& reader, const std::vector<PackRun>& runs, uint64_t total);
  // Waits for the reads that have begun.
  ~PackPageReader();

  bool AtEnd() const { return coming_ == nullptr; }
  // Where the next piece begins in the stream of pages.
  uint64_t position() const { return position_; }
  // The next piece, with zeros behind a file's end; not at the end. After an error the next call
  // goes on behind the piece that could not be read.
  Result<LargeBuffer> Next();

 private:
  struct Piece;
  std::unique_ptr<Piece> StartNext();

  FileReader& reader_;
  const std::vector<PackRun>& runs_;
  uint64_t position_ = 0;
  uint64_t left_;  // to be started
  size_t run_ = 0;
  uint32_t run_page_ = 0;  // pages of that run that have been started
  std::unique_ptr<Piece> coming_;
};

}  // namespace layerfs

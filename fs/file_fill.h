// SPDX-License-Identifier: Apache-2.0
// FileFill: fetches what is absent of a LayerFile, piece by piece, until it is whole.
// Of LayerFile's own. One thread at a time, but for Cancel.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "fs/layer_file_state.h"
#include "fs/lower_fetch.h"
#include "index/base/synchronized.h"

namespace layerfs {

class FileFill : public std::enable_shared_from_this<FileFill> {
 public:
  FileFill(std::shared_ptr<LayerFile::State> file, LayerFile::Token token, LayerFile::Done done);
  void Run();

 private:
  void Continue();
  // False: there is nothing absent any more. Else PieceIsDone follows, perhaps from inside.
  bool StartPiece();
  void PieceIsDone(Status piece);
  void Cancel();
  void Answer(Status status);

  const std::shared_ptr<LayerFile::State> file_;
  const LayerFile::Token token_;
  LayerFile::Done done_;
  uint64_t at_ = 0;  // nothing below is absent
  Status status_;
  std::atomic<bool> other_side_is_through_{false};
  std::atomic<bool> cancelled_{false};
  Synchronized<std::shared_ptr<LowerFetch>> fetch_;
};

}  // namespace layerfs

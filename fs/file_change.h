// SPDX-License-Identifier: Apache-2.0
// FileChange: one change to a LayerFile that is not settled, from the call to its answer: it waits
// for its turn, fetches the lower bytes of the pages at its edges, is applied, and answers.
// Of LayerFile's own. One thread at a time, but for Cancel.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "fs/layer_file_state.h"
#include "fs/lower_fetch.h"
#include "index/base/synchronized.h"

namespace layerfs {

struct Written {
  uint64_t bytes = 0;
  int system_errno = 0;  // why they are not all
};
// All of `parts`, one behind the other from `offset` on, as far as the disk takes them.
Written WriteParts(int fd, uint64_t offset, std::array<ByteSpan, 3> parts);

class FileChange : public std::enable_shared_from_this<FileChange> {
 public:
  using Token = LayerFile::Token;
  using CountDone = LayerFile::CountDone;
  using StatePtr = std::shared_ptr<LayerFile::State>;

  virtual ~FileChange() = default;
  void Run();

 protected:
  // The lower bytes of an absent page that the change covers in part.
  struct Edge {
    ByteRange range;
    Bytes bytes;
  };

  // It owns `pages` (as pages) when Prepare is called.
  FileChange(StatePtr file, Token token, CountDone done, uint64_t first_page, uint64_t end_page);

  // It is its turn: what it overwrites; empty where no lower bytes are wanted.
  virtual Result<ByteRange> Prepare() = 0;
  // `edges`: of the first and the last page of what Prepare said; where they are present or not
  // written in part, there is none.
  virtual Result<size_t> Apply(const std::vector<Edge>& edges) = 0;
  // It is going to wait: what is valid during the call only has to be copied.
  virtual void Keep() {}

  // Copies the lower bytes of an absent page, which makes it present: nobody sees a difference.
  Status PutEdge(const Edge& edge);
  // The pages of `covered` that have all their lower bytes in the upper file once bytes up to
  // `written_end` and the edges are there.
  Status MarkPresent(ByteRange covered, const std::vector<Edge>& edges, uint64_t written_end);

  const StatePtr file_;

 private:
  void TakeTurn();
  void FetchEdges();
  bool Park();
  void Cancel();
  void Answer(Result<size_t> result);
  void Complete(Result<size_t> result);

  const Token token_;
  CountDone done_;
  const ChangePtr change_ = std::make_shared<Change>();
  bool parked_ = false;
  std::vector<Edge> edges_;
  std::atomic<bool> cancelled_{false};
  Synchronized<std::shared_ptr<LowerFetch>> fetch_;
};

}  // namespace layerfs

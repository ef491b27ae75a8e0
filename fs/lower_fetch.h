// SPDX-License-Identifier: Apache-2.0
// LowerFetch: some extents of a lower file, read together into memory of the caller's.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fs/lower_file.h"
#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/synchronized.h"

namespace layerfs {

class LowerFetch : public std::enable_shared_from_this<LowerFetch> {
 public:
  struct Extent {
    uint64_t offset = 0;
    MutableByteSpan target;  // as many bytes are read; valid until `done` is called
  };
  using Done = std::function<void(Status)>;
  // Start has to follow.
  LowerFetch(std::shared_ptr<LowerFile> file, const std::vector<Extent>& extents);
  // `done` is called once, perhaps from inside, when nothing touches the targets any more.
  void Start(Done done);
  // It ends soon, with kCancelled unless it has all already. Before Start, too.
  void Cancel();

 private:
  struct Part {
    Extent extent;
    LowerFile::ReadId id = 0;
  };
  void PartIsDone();

  const std::shared_ptr<LowerFile> file_;
  std::vector<Part> parts_;
  std::atomic<size_t> missing_{0};
  Synchronized<std::optional<Error>> first_error_;
  Done done_;
};

}  // namespace layerfs

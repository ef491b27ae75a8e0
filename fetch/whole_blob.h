// SPDX-License-Identifier: Apache-2.0
// WholeBlob: a blob from a server that knows no ranges and answers each with all of it. What comes
// is kept in a file without a name as it streams by, for every range of the blob that is wanted
// now or later, so that the blob comes once.
// HTTP loop thread only, but for Abandon.
//
// Invariants:
//   1. The file holds the blob's first kept_ bytes, as the server sent them: unverified.
//   2. Each reader is told its end once, by on_done or by Detach.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/base/file.h"

namespace layerfs {

class WholeBlob {
 public:
  // In $TMPDIR or /var/tmp; it takes as much of it as comes.
  static Result<std::shared_ptr<WholeBlob>> Create(uint64_t size);

  using ReaderId = uint64_t;
  struct Reader {
    uint64_t offset = 0;  // of what it still wants
    uint64_t end = 0;
    std::function<bool(ByteSpan)> on_data;  // in order; false: it wants no more
    std::function<void(Status)> on_done;
    bool stopped = false;  // by on_data
  };
  // Whether what lies before `end` is there or on its way.
  bool Serves(uint64_t end) const { return carried_ || end <= kept_; }
  // What is there comes from inside. `id` is its name for Detach.
  void Attach(ReaderId id, Reader reader);
  void Detach(ReaderId id);

  // One answer at a time carries it, from the blob's beginning.
  bool carried() const { return carried_; }
  void BeginCarrying();
  // False: the answer is to be ended. Nobody wants it any more, or the disk does not take it.
  bool OnData(ByteSpan data);
  void EndCarrying(const Status& status);
  bool disk_failed() const { return !disk_.has_value(); }

  // Ends the answer that carries it with its next bytes. Thread-safe.
  void Abandon() { abandoned_ = true; }

 private:
  WholeBlob(uint64_t size, UniqueFd file) : size_(size), file_(std::move(file)) {}
  // Hands what the file has to the reader; true when that was its end.
  bool ServeKept(Reader& reader);
  void EndReader(ReaderId id, Status status);
  void HandOn(uint64_t begin, ByteSpan data);

  const uint64_t size_;
  const UniqueFd file_;
  std::atomic<bool> abandoned_{false};
  bool carried_ = false;
  uint64_t at_ = 0;  // of the answer that carries it
  uint64_t kept_ = 0;
  Status disk_;
  std::map<ReaderId, Reader> readers_;
};

}  // namespace layerfs

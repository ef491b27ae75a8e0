// SPDX-License-Identifier: Apache-2.0
// RelaySet: bytes carried from descriptors to descriptors inside somebody's poll loop. A slow
// reader holds up its own stream only, and no call waits.
// One thread at a time.
#pragma once

#include <poll.h>

#include <span>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/file.h"

namespace layerfs {

class RelaySet {
 public:
  // What has ended at `from` ends at `to` too where it is owned: its descriptor is closed.
  void Add(int from, UniqueFd to);
  void AddBorrowed(int from, int to);

  // Appends what to wait for, and handles what poll found, given the same part of the array.
  void AppendTo(std::vector<pollfd>& polled) const;
  void Handle(std::span<const pollfd> polled);
  // As many entries as AppendTo appends.
  size_t size() const { return streams_.size(); }

  // The writers are gone: carries what they left, until each stream from one of `sources` ends or
  // nothing comes for a moment.
  void Drain(const std::vector<int>& sources);

 private:
  struct Stream {
    int from = -1;  // -1: has ended
    int to = -1;
    UniqueFd owned;
    Bytes waiting;  // read, not yet written
  };
  static pollfd WaitFor(const Stream& stream);
  static void Read(Stream& stream);
  static void Write(Stream& stream);
  static void End(Stream& stream);

  std::vector<Stream> streams_;
};

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// GzipStreamDecoder: gzip (RFC 1952) that arrives in pieces, members one after the other as one
// stream. The only door to ISA-L, whose inflate is several times as fast as zlib's.
// One thread at a time.
#pragma once

#include <memory>

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

class GzipStreamDecoder {
 public:
  GzipStreamDecoder();
  ~GzipStreamDecoder();
  GzipStreamDecoder(GzipStreamDecoder&&) noexcept;
  GzipStreamDecoder& operator=(GzipStreamDecoder&&) noexcept;

  // Consumes from the front of `input` and fills the front of `output`; returns the bytes written.
  // Call until `input` is empty and less than output.size() came out. Large outputs are faster:
  // each call saves 32 KiB of history. kCorrupt: a broken header, body or trailer (header CRC,
  // CRC-32 and size are checked), or anything but another member behind a member: zeros too, which
  // gzip(1) passes over, but containerd's and Podman's readers (Go's compress/gzip) refuse: no
  // runtime could use such a layer.
  // Then `input` begins about where the trouble is.
  Result<size_t> Decode(ByteSpan& input, MutableByteSpan output);
  // Whether the input so far ends at a member's end. False before the first member.
  bool at_member_end() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace layerfs

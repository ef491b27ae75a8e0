// SPDX-License-Identifier: Apache-2.0
// RangeFilter: whether a server's answer to a range request is one, and which of its bytes are
// wanted: a 206 must be for the range that was asked for, a 200 brings the whole blob, of which the
// range is taken as it streams by.
// One thread at a time.
#pragma once

#include <cstdint>

#include "fetch/http_message.h"
#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

class RangeFilter {
 public:
  // [offset, offset + size) of a blob of `blob_size` bytes; size > 0 unless the blob is empty.
  RangeFilter(uint64_t offset, uint64_t size, uint64_t blob_size)
      : offset_(offset), size_(size), blob_size_(blob_size) {}

  // "bytes=0-99" to ask for it; empty for the whole blob.
  std::string RangeHeader() const;
  // Checks a 2xx answer's head. Errors are retryable: proxies and caches get this wrong at times.
  Status CheckHead(const HttpHead& head);
  // The wanted part of the next bytes of the body; empty where there is none.
  ByteSpan Take(ByteSpan data);

  // After CheckHead: whether the answer to a part of the blob is all of it.
  bool unasked_whole() const { return unasked_whole_; }
  uint64_t taken() const { return taken_; }
  bool complete() const { return taken_ == size_; }
  // "the body ended after 5 of 10 bytes", once it has ended.
  Error ShortBody() const;

 private:
  const uint64_t offset_;
  const uint64_t size_;
  const uint64_t blob_size_;
  uint64_t skip_ = 0;  // bytes of the body before the range
  uint64_t taken_ = 0;
  bool unasked_whole_ = false;
};

}  // namespace layerfs

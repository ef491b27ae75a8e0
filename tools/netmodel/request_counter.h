// SPDX-License-Identifier: Apache-2.0
// RequestCounter: counts the HTTP/1.1 requests in what a client sends. Anything else (TLS, HTTP/2)
// counts as none.
// One thread at a time.
#pragma once

#include <cstdint>
#include <string>

#include "index/base/bytes.h"

namespace layerfs {

class RequestCounter {
 public:
  // The next bytes of the connection; returns how many requests began to be answered by them, that
  // is, whose heads ended in them.
  uint64_t Feed(ByteSpan bytes);

 private:
  // Takes the head that is in `head_` and finds out how long its body is.
  bool EndHead();

  std::string head_;
  uint64_t body_left_ = 0;
  bool blind_ = false;  // does not understand the connection (any more)
};

}  // namespace layerfs

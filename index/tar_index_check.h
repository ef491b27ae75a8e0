// SPDX-License-Identifier: Apache-2.0
// TarIndexCheck: whether a layer's index says what its tar says. The tar's own index is built as
// the tar goes by, and the two are compared: who mounts a layer sees what who unpacks it sees. One
// thread at a time.
#pragma once

#include <optional>
#include <string>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/index.h"
#include "index/layer_index_builder.h"
#include "index/tar_parser.h"

namespace layerfs {

class TarIndexCheck {
 public:
  TarIndexCheck();

  // The tar's next bytes.
  void Feed(ByteSpan tar);
  // `index` is a layer's. What is different, in words; nothing where nothing is.
  Result<std::optional<std::string>> Finish(const Index& index);

 private:
  LayerIndexBuilder builder_;
  TarParser parser_;
  Status status_;  // of the tar so far
};

}  // namespace layerfs

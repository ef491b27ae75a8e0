// SPDX-License-Identifier: Apache-2.0
// LayerIndexBuilder: a tar's entries, in tar order → the layer index. Applies the OCI rules that
// concern one layer alone (whiteouts, duplicates, missing parents, hard links, symlinked parents
// inside the layer); what needs the lower layers is left to the merge.
// One thread at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "index/base/bytes.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/chunk_table.h"
#include "index/index.h"
#include "index/tar_parser.h"

namespace layerfs {

class LayerIndexBuilder {
 public:
  LayerIndexBuilder();
  ~LayerIndexBuilder();

  // Errors name the entry and its tar offset: a path with "..", NUL or a name over 255 bytes, a
  // hard link to itself or to a directory, a bare ".wh.", a non-directory root, an ACL or
  // capability that Linux does not take.
  Status Add(const TarEntry& entry);

  struct LayerFacts {
    Digest diff_id;
    uint64_t tar_size = 0;
    std::vector<SegmentRef> segments;  // in tar order, layer number 0
  };
  // Whether an entry was a hard link whose target is not in this layer.
  bool links_below() const;
  // The index of kind kLayer; deterministic. The builder is empty afterwards.
  Result<Bytes> Finish(const LayerFacts& facts);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerfs

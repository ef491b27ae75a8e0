// SPDX-License-Identifier: Apache-2.0
// BlobCheck: a layer's blob against what its index and chunk table say of it, in one pass from the
// source: every chunk, the blob's digest, the tar that all chunks make, and that who knows nothing
// of chunks gets the same tar, with the same files in it.
// One thread at a time.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "fetch/image_store.h"
#include "fetch/manifest.h"
#include "index/base/digest.h"
#include "index/base/error.h"
#include "index/chunk_table.h"
#include "index/index.h"

namespace layerfs {

// Whether it says that content is damaged or gone; else it may be the way to it.
bool IsDamage(const Error& error);

class BlobCheck {
 public:
  // `object`: what is wrong; `finding`: how.
  using Report = std::function<void(const std::string& object, const std::string& finding)>;

  // `layer`: the blob's descriptor; `diff_id`: of the tar, as its index has it.
  BlobCheck(Descriptor layer, const Digest& diff_id)
      : layer_(std::move(layer)), diff_id_(diff_id) {}

  // The next part of the table, in its order.
  void Add(const ChunkTableSegment& table);
  // A part of the table cannot be read: what all chunks make is not looked at.
  void Miss() { is_whole_ = false; }
  // The layer's index, which outlives the check; without one the tar is not compared.
  void SetIndex(const Index* index) { index_ = index; }
  // Reads the blob and reports each bad chunk, or, where none is bad, that the blob is not what its
  // digest or its diff ID says. An error where it cannot be read for now; a blob that is not there
  // or ends early is a finding. kCancelled once `stopped`, which may be null, is true.
  Status Run(ImageReader& reader, const std::atomic<bool>* stopped, const Report& report) const;

 private:
  const Descriptor layer_;
  const Digest diff_id_;
  std::vector<ChunkRef> chunks_;
  bool is_whole_ = true;
  const Index* index_ = nullptr;
};

}  // namespace layerfs

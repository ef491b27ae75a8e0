// SPDX-License-Identifier: Apache-2.0
// The deep check: what a sound writer guarantees beyond what Open needs to be safe.
// Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "index/chunk_table.h"
#include "index/index.h"

namespace layerfs {

// A sentence for each finding, at most 100 of them; empty: sound. Checks that
//   - every inode has a name, and link counts are right;
//   - a tree's layers name their blobs, and all layers their tars;
//   - the segments cover each layer's tar to its end, and do not overlap in its blob;
//   - no two files of a layer share a run of the tar in part;
//   - no byte of a name, target or attribute, and no set, is stored for nobody.
std::vector<std::string> CheckIndex(const Index& index);

// Likewise, of one segment: chunks do not overlap in the blob, which has `blob_size` bytes.
std::vector<std::string> CheckSegment(const ChunkTableSegment& segment, uint64_t blob_size);

// Likewise, of one segment of a layer index's: a content is as large as the file whose payload it
// is. (It may be nobody's: a tar can list a file twice, and the first is gone then.)
std::vector<std::string> CheckContents(const Index& layer, const ChunkTableSegment& segment);

}  // namespace layerfs

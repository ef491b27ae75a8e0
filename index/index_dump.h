// SPDX-License-Identifier: Apache-2.0
// An index as text: for people, for diff(1), and for the golden files. Deterministic: the same
// index gives the same lines, and equal trees give equal lines whatever their numbering.
// Thread-safe.
//
// One line per layer, segment and path, then one per chunk and content:
//   tree 2 layers, 3 segments
//   layer 0 blob sha256:… 5000 diff-id sha256:… 10240 segments 0+2
//   segment 0 layer 0 tar 0+4096 blob 100+10 codec 1 size 20 sha256:…
//   '/a/b' file 0644 0:0 links 1 mtime 1700000000.000000000 size 100 data 0@512+100
//   '/dev' char 0600 0:0 links 1 mtime 0.000000000 device 5:1
//   '/gone' whiteout
//   chunk 0 segment 0 tar 0+4096 blob 0+2000 codec 1 sha256:…
//   content segment 0 tar 0+100 sha256:…
// Behind a path's own words come "implicit", "opaque", "target '…'" and one "xattr 'NAME'='VALUE'"
// each; data is LAYER@TAR_OFFSET+SIZE, a sparse file's FILE_OFFSET:TAR_OFFSET+SIZE runs after it.
// Paths with more than one name are marked "same '/first/name'".
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "index/base/error.h"
#include "index/chunk_table.h"
#include "index/index.h"

namespace layerfs {

// Gets each line, without its end; an error ends the dump.
using LineSink = std::function<Status(std::string_view line)>;

// `segments`: as many as are there, in order from the index's segment 0; may be empty.
Status DumpIndex(const Index& index, std::span<const ChunkTableSegment> segments,
                 const LineSink& sink);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// BuildStartupPack: an opened image and the traces of its start-ups → the startup pack
// (index/PACK.md). Deterministic: the same image, traces and options give the same bytes.
// One thread at a time.
#pragma once

#include <cstdint>
#include <span>

#include "fs/file_reader.h"
#include "fs/image.h"
#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/pack.h"
#include "index/trace.h"

namespace layerfs {

struct PackOptions {
  // Of zstd, for the pages. Level 12 takes twice as long and saves 0.5 to 2.6 %; level 19 fifteen
  // times, for 10 to 13 %.
  int level = 9;
  // Pages beyond this are only named, and fetched as chunks once the pack is through.
  uint64_t max_bytes = uint64_t{256} << 20;
};

struct BuiltPack {
  PackHead head;
  Bytes blob;
  uint64_t stored_page_bytes = 0;  // of the stream of pages
  uint64_t stored_tree_bytes = 0;
  uint32_t gap_pages = 0;      // between pages that the traces have, at the end of the stream
  uint64_t missing_paths = 0;  // of the traces, that the image does not have as regular files
};

// `image` is opened without a startup pack, so that its tree is the layers'.
Result<BuiltPack> BuildStartupPack(Image& image, FileReader& reader, Scheduler& scheduler,
                                   std::span<const Trace> traces, const PackOptions& options);

}  // namespace layerfs

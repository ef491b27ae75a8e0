// SPDX-License-Identifier: Apache-2.0
// The arranged form of an index, in which it lies (compressed) in a blob: the same bytes in an
// order in which zstd sees what repeats. FORMAT.md, "The arranged form". The one door for the
// converter and every reader. Compression and digest are around it, as for any chunk.
// Thread-safe.
#pragma once

#include "index/base/bytes.h"
#include "index/base/error.h"

namespace layerfs {

// `index` as IndexWriter gives it; anything without sound header and section table is kCorrupt. It
// is arranged where it lies: beside it is room for one section.
Result<Bytes> EncodeIndex(Bytes index);
Result<Bytes> EncodeIndex(ByteSpan index);

// The inverse, over any bytes: EncodeIndex of the result gives `arranged` again. What the sections
// hold is Index::Open's to judge.
Result<Bytes> DecodeIndex(ByteSpan arranged);
// The same, into `index`, which is as long as `arranged`.
Status DecodeIndex(ByteSpan arranged, MutableByteSpan index);

}  // namespace layerfs

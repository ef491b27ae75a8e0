// SPDX-License-Identifier: Apache-2.0
// How the index of a converted layer is found: by annotations on the layer's descriptor, or, where
// only the blob is known, by the footer at its end. FORMAT.md, "In a layer blob".
// Thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "index/base/bytes.h"
#include "index/base/error.h"
#include "index/chunk_ref.h"

namespace layerfs {

// Annotation keys on the layer's descriptor.
inline constexpr char kIndexPositionAnnotation[] = "io.layerfs.index.position";
inline constexpr char kIndexDigestAnnotation[] = "io.layerfs.index.digest";

// The index as a ChunkRef: codec zstd, digest and size of the arranged index (index_codec.h), which
// is what decompressing gives; size is bounded (chunk_ref.h).
using Annotations = std::map<std::string, std::string>;
Annotations EncodeIndexAnnotations(const ChunkRef& index);
// Nothing where the layer is not a converted one; kCorrupt where the annotations are malformed or
// point outside the blob, or an index would be beyond the bounds.
Result<std::optional<ChunkRef>> DecodeIndexAnnotations(const Annotations& annotations,
                                                       uint64_t blob_size);

// The footer: a skippable frame of fixed size, the blob's last bytes (or, where the footer of
// zstd:chunked has been added behind, the bytes before its table of contents; or, in a blob of gzip
// members, the payload of a hidden member, hidden_member.h).
inline constexpr size_t kLayerFooterSize = 80;
inline constexpr std::string_view kZstdChunkedMagic = "GNUlInUx";  // at the end of that one
Bytes EncodeLayerFooter(const ChunkRef& index);
// `tail` ends where the blob ends. Nothing where there is no footer.
Result<std::optional<ChunkRef>> DecodeLayerFooter(ByteSpan tail, uint64_t blob_size);

}  // namespace layerfs

// SPDX-License-Identifier: Apache-2.0
// What every store does with a document that it has read: hold it against its descriptor or pin.
// Thread-safe: pure functions.
#pragma once

#include <optional>
#include <string>

#include "fetch/image_store.h"

namespace layerfs {

// The digest that the bytes have; kDigestMismatch where `pin` says another one. The media type is
// the document's own where it has one, else `media_type_hint` (a Content-Type header, a
// descriptor), else what its shape tells.
Result<RawDocument> MakeDocument(Bytes raw, std::string_view media_type_hint,
                                 const std::optional<Digest>& pin);

// The descriptor's embedded bytes as a document, where it has any.
std::optional<RawDocument> EmbeddedDocument(const Descriptor& descriptor);

// Checks a document that a descriptor led to: its size as well.
Result<RawDocument> MakeDescribedDocument(Bytes raw, const Descriptor& descriptor);

// kTooLarge for a manifest that nobody should have to hold in memory.
Status CheckManifestSize(const Descriptor& descriptor);

}  // namespace layerfs

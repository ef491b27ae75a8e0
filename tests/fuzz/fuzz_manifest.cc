// SPDX-License-Identifier: Apache-2.0
// Manifests, image indexes and configs from foreign bytes. Invariant: what parses encodes to
// something that parses again, to the same encoding.
#include <cstdint>
#include <cstdlib>

#include "fetch/manifest.h"

namespace {

template <typename Document>
void CheckRoundTrip(layerfs::ByteSpan raw) {
  const auto document = Document::Parse(raw);
  if (!document) return;
  const layerfs::Bytes encoded = document->Encode();
  // A document near the limit may grow past it when it is written anew.
  if (encoded.size() > layerfs::kMaxManifestBytes) return;
  const auto again = Document::Parse(encoded);
  if (!again || again->Encode() != encoded) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const layerfs::ByteSpan raw(data, size);
  CheckRoundTrip<layerfs::Manifest>(raw);
  CheckRoundTrip<layerfs::ImageIndex>(raw);
  (void)layerfs::SniffMediaType(raw);
  (void)layerfs::ImageConfig::Parse(raw);
  return 0;
}
